# One command per job, the same here and in CI. `make` alone prints this help.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/ready
NATIVE := build/native/pockettune-run
NATIVE_JNI := build/native-jni/libpockettune_jni.so
export OMP_NUM_THREADS ?= 2
export HF_HUB_OFFLINE ?= 1

.DEFAULT_GOAL := help
.PHONY: help setup native native-jni demo test test-kotlin test-swift docs fuzz test-slow check format vectors bench tables wheel clean

help: ## print this help
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

setup: $(READY) ## make the Python environment in .venv (once)

$(READY): constraints.txt pyproject.toml
	@echo "== setting up $(VENV) (once; downloads about 3 GB)"
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check "uv==0.13.9"
	$(BIN)/uv pip install --quiet --python $(BIN)/python --require-hashes -r constraints.txt
	$(BIN)/uv pip install --quiet --python $(BIN)/python --no-deps --no-build-isolation -e .
	@touch $@

native: $(NATIVE) ## build the native engine and runner

NATIVE_SOURCES := $(shell find sdk/engine -type f 2>/dev/null)
$(NATIVE): $(READY) $(NATIVE_SOURCES)
	@command -v c++ >/dev/null || { echo "a C++20 compiler is needed: install g++ 12 or clang 15, or newer"; exit 1; }
	@echo "== building the native runner"
	$(BIN)/cmake -S sdk/engine -B build/native -G Ninja -DCMAKE_BUILD_TYPE=Release -DCMAKE_MAKE_PROGRAM=$(abspath $(BIN)/ninja) \
	  -DCMAKE_PREFIX_PATH=$$($(BIN)/python -c 'import importlib.util as u; print(u.find_spec("executorch").submodule_search_locations[0])') \
	  --log-level=WARNING
	$(BIN)/cmake --build build/native
	@touch $@

native-jni: $(NATIVE_JNI) ## build the natives of the ExecuTorch Java classes (needs a JDK)

JNI_SOURCES := $(shell find sdk/kotlin/host-jni/src/main/cpp -type f 2>/dev/null)
$(NATIVE_JNI): $(NATIVE) $(JNI_SOURCES)
	$(BIN)/cmake -S sdk/kotlin/host-jni/src/main/cpp -B build/native-jni -G Ninja -DCMAKE_MAKE_PROGRAM=$(abspath $(BIN)/ninja) \
	  -DPOCKETTUNE_NATIVE=$(abspath build/native) --log-level=WARNING
	$(BIN)/cmake --build build/native-jni
	@touch $@

demo: $(READY) $(NATIVE) ## export the starter, personalize it, write out/demo/sheet.png
	$(BIN)/python -m benchmarks.demo --out out/demo

test: check $(NATIVE) ## everything a newcomer runs: lint, types, unit and end-to-end tests
	$(BIN)/python -m pytest -m "not slow"

test-kotlin: ## build and test the Kotlin SDK and the Android demo: form, tests, public interface, size, APK
	@for tool in javac mvn npm aapt zipalign apksigner; do command -v $$tool >/dev/null || \
	  { echo "no $$tool: install openjdk-17-jdk-headless maven npm aapt zipalign apksigner"; exit 1; }; done
	cd sdk/kotlin && tools/install_executorch_classes.sh && tools/ktlint.sh && tools/detekt.sh && mvn -q -B verify && \
	  tools/abi.sh && tools/size.sh
	android_demo/tools/build_apk.sh

docs: ## write the API's pages of both SDKs (Dokka, DocC) to build/docs; needs what test-kotlin and test-swift need
	sdk/kotlin/tools/docs.sh build/docs/kotlin
	sdk/swift/tools/docs.sh build/docs/swift

fuzz: $(READY) $(NATIVE) ## let libFuzzer look for crashes for some minutes (needs clang)
	POCKETTUNE_FUZZ_RUNS=200000 $(BIN)/python -m pytest -s tests/engine/test_libfuzzer.py

test-swift: $(READY) $(NATIVE) ## test the Swift SDK (sets up Swift for Debian in your cache, once, as root)
	sdk/swift/tools/toolchain.sh setup
	$(BIN)/python -m pytest -s tests/sdk/test_swift.py

test-slow: $(READY) $(NATIVE) ## the slow tests too
	$(BIN)/python -m pytest -m slow

CXX_FOLDERS := sdk/engine sdk/kotlin/host-jni
CXX_STYLE := --style=file:sdk/engine/.clang-format

check: $(READY) ## format, lint, types
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	find $(CXX_FOLDERS) \( -name '*.cpp' -o -name '*.h' \) -print0 | xargs -0 $(BIN)/clang-format $(CXX_STYLE) --dry-run -Werror

format: $(READY) ## format Python and C++
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .
	find $(CXX_FOLDERS) \( -name '*.cpp' -o -name '*.h' \) -print0 | xargs -0 -r $(BIN)/clang-format $(CXX_STYLE) -i

vectors: $(READY) ## regenerate spec/vectors
	$(BIN)/python -m pockettune.vectors

bench: $(READY) $(NATIVE) ## run the latency and memory benchmarks (about half an hour)
	$(BIN)/python -m benchmarks.latency
	$(BIN)/python -m benchmarks.memory
	$(BIN)/python -m benchmarks.tables

tables: $(READY) ## regenerate the tables in docs from benchmarks/results
	$(BIN)/python -m benchmarks.tables

wheel: $(READY) ## build the wheel and run what it holds from another folder
	rm -rf dist build/wheel
	$(BIN)/uv build --quiet --wheel --no-build-isolation --python $(BIN)/python --out-dir dist
	$(BIN)/uv pip install --quiet --python $(BIN)/python --no-deps --target build/wheel dist/*.whl
	cd / && PYTHONPATH=$(abspath build/wheel) $(abspath $(BIN)/python) -c 'import export, pockettune; print(export.__file__)'
	cd / && PYTHONPATH=$(abspath build/wheel) $(abspath $(BIN)/python) -m export --list
	cd / && PYTHONPATH=$(abspath build/wheel) $(abspath $(BIN)/python) -m export --explain

clean: ## remove what was built (not .venv)
	rm -rf build dist out

"""The Android parts as far as they can be told without a build: versions and natives."""

from __future__ import annotations

import re
import shutil
import subprocess
import tomllib
import zipfile
from pathlib import Path
from xml.etree import ElementTree

import pytest

ROOT = Path(__file__).parent.parent.parent
CATALOG = tomllib.loads((ROOT / "sdk/kotlin/gradle/libs.versions.toml").read_text())
# What Maven has no part in.
GRADLE_ALONE = {"agp", "androidx-test-runner", "executorch"}


def maven_versions() -> dict[str, str]:
    """Properties of the Maven build, named as the catalog names them."""
    space = "{http://maven.apache.org/POM/4.0.0}"
    project = ElementTree.parse(ROOT / "sdk/kotlin/pom.xml").getroot()  # noqa: S314 (our own file)
    properties = project.find(f"{space}properties")
    assert properties is not None
    found = {
        child.tag.removeprefix(space).removesuffix(".version"): child.text or ""
        for child in properties
        if child.tag.endswith(".version")
    }
    return found | {"pockettune": project.findtext(f"{space}version") or ""}


def test_gradle_and_maven_take_the_same_versions() -> None:
    maven, gradle = maven_versions(), CATALOG["versions"]
    assert {name: maven.get(name) for name in gradle.keys() - GRADLE_ALONE} == {
        name: version for name, version in gradle.items() if name not in GRADLE_ALONE
    }


def test_gradle_takes_the_runtime_that_bundles_are_made_for() -> None:
    needed = re.search(r'"executorch==([\d.]+)"', (ROOT / "pyproject.toml").read_text())
    assert needed is not None
    assert CATALOG["versions"]["executorch"] == needed[1]


@pytest.mark.parametrize(
    "build", sorted(path.relative_to(ROOT) for path in ROOT.glob("*/**/build.gradle.kts")), ids=str
)
def test_gradle_names_only_what_the_catalog_has(build: Path) -> None:
    accessors = {name.replace("-", ".") for name in CATALOG["libraries"]}
    accessors |= {f"plugins.{name.replace('-', '.')}" for name in CATALOG["plugins"]}
    accessors |= {f"versions.{name}.get" for name in CATALOG["versions"]}
    text = (ROOT / build).read_text()
    assert set(re.findall(r"\blibs\.([\w.]+)", text)) <= accessors
    assert "Never run" in text


def library(folder: Path, page: int) -> bytes:
    source, output = folder / "empty.c", folder / f"{page}.so"
    source.write_text("int one(void) { return 1; }\n")
    command = ["c++", "-shared", "-fPIC", f"-Wl,-z,max-page-size={page}", "-o", output, source]
    subprocess.run(command, check=True)
    return output.read_bytes()


def apk(path: Path, libraries: dict[str, bytes], page: int) -> Path:
    """An archive whose entries lie at multiples of ``page``, padded as zipalign pads them."""
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in libraries.items():
            info = zipfile.ZipInfo(f"lib/{name}/libexecutorch.so")
            here = archive.fp.tell() + 30 + len(info.filename)
            info.extra = bytes(-here % page)
            archive.writestr(info, data)
    return path


@pytest.mark.skipif(shutil.which("c++") is None, reason="needs a C++ compiler")
def test_natives_that_16_kb_phones_can_not_map_are_found(tmp_path: Path) -> None:
    good, old = library(tmp_path, 16384), library(tmp_path, 4096)
    both = {"arm64-v8a": good, "x86_64": good}
    cases = {
        "": apk(tmp_path / "good.apk", both, 16384),
        "multiple of 16 KB": apk(tmp_path / "unaligned.apk", both, 64),
        "segment aligned to 4096": apk(tmp_path / "old.apk", {**both, "x86_64": old}, 16384),
        "no natives for x86_64": apk(tmp_path / "one.apk", {"arm64-v8a": good}, 16384),
    }
    check = ROOT / "android_demo/tools/check_natives.sh"
    for complaint, path in cases.items():
        done = subprocess.run([check, path], capture_output=True, text=True)
        assert (done.returncode, complaint in done.stdout) == (bool(complaint), True), done

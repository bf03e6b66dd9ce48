// Java's side: names that are looked up once, texts, tensors, and errors both
// ways.
#pragma once
#include <jni.h>

#include <exception>
#include <string>
#include <string_view>
#include <vector>

#include "module.h"

namespace pockettune {

/// Java has thrown already: nothing is left to do but to return.
class JavaException : public std::exception {};

/// The classes, methods and fields of the official Java code that natives use.
/// Its class loader is that of the first caller.
struct Java {
  explicit Java(JNIEnv* env);
  /// Raises JavaException when a name is missing: another release of the
  /// classes.
  static const Java& of(JNIEnv* env);

  jclass evalue, tensor, hybrid, string, byte_order;
  jmethodID evalue_is_tensor, evalue_to_tensor, evalue_from;
  jmethodID tensor_raw, tensor_code, tensor_new;
  jfieldID tensor_shape;
  jmethodID hybrid_new;
  jfieldID hybrid_destructor, destructor_pointer, module_hybrid;
  jmethodID buffer_order;
  jobject native_order;
};

void throw_if_pending(JNIEnv* env);
std::string text_of(JNIEnv* env, jstring text);
jobjectArray strings(JNIEnv* env, const std::vector<std::string>& texts);
Input input_of(JNIEnv* env, jobject evalue);
/// An EValue over the memory, which stays the engine's.
jobject evalue_of(JNIEnv* env, const pockettune_tensor& tensor, void* data);
/// Throws the official exception with the runtime's number and the sentence.
void throw_java(JNIEnv* env, Error error, const char* sentence);

/// Runs `body` and turns what it raises into a Java exception; `otherwise` is
/// returned then.
template <class Result, class Body>
Result guarded(JNIEnv* env, Result otherwise, Body&& body) noexcept {
  try {
    return body();
  } catch (const JavaException&) {
  } catch (const EngineFailure& failure) {
    throw_java(env, failure.error(), failure.what());
  } catch (const std::bad_alloc&) {
    throw_java(env, Error::memory_allocation_failed, "no memory");
  } catch (const std::exception& exception) {
    throw_java(env, Error::internal, exception.what());
  }
  return otherwise;
}

}  // namespace pockettune

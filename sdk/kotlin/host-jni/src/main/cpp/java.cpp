#include "java.h"

#include <array>
#include <utility>

namespace pockettune {
namespace {

// DType.jniCode of the official classes.
constexpr std::array<std::pair<int32_t, jint>, 6> dtype_codes{{{POCKETTUNE_FLOAT32, 6},
                                                               {POCKETTUNE_FLOAT16, 5},
                                                               {POCKETTUNE_INT64, 4},
                                                               {POCKETTUNE_INT32, 3},
                                                               {POCKETTUNE_INT8, 1},
                                                               {POCKETTUNE_UINT8, 0}}};
constexpr uintptr_t alignment = 16;  // of pockettune_engine.h

int32_t dtype_of(jint code) {
  for (const auto& [dtype, jni] : dtype_codes) {
    if (jni == code) return dtype;
  }
  return POCKETTUNE_OTHER;
}

jint code_of(int32_t dtype) {
  for (const auto& [ours, code] : dtype_codes) {
    if (ours == dtype) return code;
  }
  throw EngineFailure(Error::not_supported, "an output has an element type that Java lacks");
}

template <class Found>
Found found(JNIEnv* env, Found value) {
  throw_if_pending(env);
  return value;
}

jclass class_of(JNIEnv* env, const char* name) {
  const jclass local = found(env, env->FindClass(name));
  const auto global = static_cast<jclass>(env->NewGlobalRef(local));
  env->DeleteLocalRef(local);
  return global;
}

}  // namespace

void throw_if_pending(JNIEnv* env) {
  if (env->ExceptionCheck()) throw JavaException();
}

Java::Java(JNIEnv* env) {
  evalue = class_of(env, "org/pytorch/executorch/EValue");
  tensor = class_of(env, "org/pytorch/executorch/Tensor");
  hybrid = class_of(env, "com/facebook/jni/HybridData");
  string = class_of(env, "java/lang/String");
  byte_order = class_of(env, "java/nio/ByteOrder");
  const jclass destructor = class_of(env, "com/facebook/jni/HybridData$Destructor");
  const jclass module = class_of(env, "org/pytorch/executorch/Module");
  const jclass buffer = class_of(env, "java/nio/ByteBuffer");
  evalue_is_tensor = found(env, env->GetMethodID(evalue, "isTensor", "()Z"));
  evalue_to_tensor =
      found(env, env->GetMethodID(evalue, "toTensor", "()Lorg/pytorch/executorch/Tensor;"));
  evalue_from = found(
      env, env->GetStaticMethodID(
               evalue, "from", "(Lorg/pytorch/executorch/Tensor;)Lorg/pytorch/executorch/EValue;"));
  tensor_raw = found(env, env->GetMethodID(tensor, "getRawDataBuffer", "()Ljava/nio/Buffer;"));
  tensor_code = found(env, env->GetMethodID(tensor, "dtypeJniCode", "()I"));
  tensor_new =
      found(env, env->GetStaticMethodID(tensor, "nativeNewTensor",
                                        "(Ljava/nio/ByteBuffer;[JILcom/facebook/jni/HybridData;)"
                                        "Lorg/pytorch/executorch/Tensor;"));
  tensor_shape = found(env, env->GetFieldID(tensor, "shape", "[J"));
  hybrid_new = found(env, env->GetMethodID(hybrid, "<init>", "()V"));
  hybrid_destructor = found(
      env, env->GetFieldID(hybrid, "mDestructor", "Lcom/facebook/jni/HybridData$Destructor;"));
  destructor_pointer = found(env, env->GetFieldID(destructor, "mNativePointer", "J"));
  module_hybrid =
      found(env, env->GetFieldID(module, "mHybridData", "Lcom/facebook/jni/HybridData;"));
  buffer_order =
      found(env, env->GetMethodID(buffer, "order", "(Ljava/nio/ByteOrder;)Ljava/nio/ByteBuffer;"));
  const jmethodID native =
      found(env, env->GetStaticMethodID(byte_order, "nativeOrder", "()Ljava/nio/ByteOrder;"));
  native_order = env->NewGlobalRef(found(env, env->CallStaticObjectMethod(byte_order, native)));
}

const Java& Java::of(JNIEnv* env) {
  static const Java java(env);
  return java;
}

std::string text_of(JNIEnv* env, jstring text) {
  // Modified UTF-8 differs from UTF-8 only for NUL and what lies outside the
  // basic plane.
  const char* characters = env->GetStringUTFChars(text, nullptr);
  if (!characters) throw JavaException();
  std::string copy(characters);
  env->ReleaseStringUTFChars(text, characters);
  return copy;
}

jobjectArray strings(JNIEnv* env, const std::vector<std::string>& texts) {
  const auto count = static_cast<jsize>(texts.size());
  const jobjectArray array = found(env, env->NewObjectArray(count, Java::of(env).string, nullptr));
  for (jsize i = 0; i < count; i++) {
    const jstring text = found(env, env->NewStringUTF(texts[static_cast<size_t>(i)].c_str()));
    env->SetObjectArrayElement(array, i, text);
    env->DeleteLocalRef(text);
  }
  return array;
}

Input input_of(JNIEnv* env, jobject evalue) {
  const Java& java = Java::of(env);
  if (!evalue || !env->CallBooleanMethod(evalue, java.evalue_is_tensor))
    throw EngineFailure(Error::invalid_argument, "an input is no tensor");
  const jobject tensor = found(env, env->CallObjectMethod(evalue, java.evalue_to_tensor));
  const jobject raw = found(env, env->CallObjectMethod(tensor, java.tensor_raw));
  const auto shape = static_cast<jlongArray>(env->GetObjectField(tensor, java.tensor_shape));
  Input input{env->GetDirectBufferAddress(raw),
              dtype_of(env->CallIntMethod(tensor, java.tensor_code)),
              std::vector<int64_t>(static_cast<size_t>(env->GetArrayLength(shape)))};
  throw_if_pending(env);
  env->GetLongArrayRegion(shape, 0, static_cast<jsize>(input.shape.size()),
                          reinterpret_cast<jlong*>(input.shape.data()));
  if (!input.data || reinterpret_cast<uintptr_t>(input.data) % alignment)
    throw EngineFailure(Error::invalid_argument, "a buffer is not direct, or not aligned");
  for (const jobject local : {tensor, raw, static_cast<jobject>(shape)}) env->DeleteLocalRef(local);
  return input;
}

jobject evalue_of(JNIEnv* env, const pockettune_tensor& tensor, void* data) {
  const Java& java = Java::of(env);
  const jobject memory =
      found(env, env->NewDirectByteBuffer(data, static_cast<jlong>(tensor.bytes)));
  const jobject ordered =
      found(env, env->CallObjectMethod(memory, java.buffer_order, java.native_order));
  const jlongArray shape = found(env, env->NewLongArray(tensor.rank));
  env->SetLongArrayRegion(shape, 0, tensor.rank, reinterpret_cast<const jlong*>(tensor.shape));
  const jobject made =
      found(env, env->CallStaticObjectMethod(java.tensor, java.tensor_new, ordered, shape,
                                             code_of(tensor.dtype), static_cast<jobject>(nullptr)));
  const jobject evalue =
      found(env, env->CallStaticObjectMethod(java.evalue, java.evalue_from, made));
  for (const jobject local : {memory, ordered, static_cast<jobject>(shape), made})
    env->DeleteLocalRef(local);
  return evalue;
}

void throw_java(JNIEnv* env, Error error, const char* sentence) {
  if (env->ExceptionCheck()) return;
  const jclass type = env->FindClass("org/pytorch/executorch/ExecutorchRuntimeException");
  if (!type) return;
  const jmethodID make = env->GetMethodID(type, "<init>", "(ILjava/lang/String;)V");
  const jstring text = env->NewStringUTF(sentence);
  if (!make || !text) return;
  const jobject thrown = env->NewObject(type, make, static_cast<jint>(error), text);
  if (thrown) env->Throw(static_cast<jthrowable>(thrown));
}

}  // namespace pockettune

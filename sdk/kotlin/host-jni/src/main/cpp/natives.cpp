// The functions that the JVM looks for: natives of
// org.pytorch.executorch.Module and of fbjni's HybridData, which holds our
// Module.
#include "java.h"

using pockettune::Error;
using pockettune::guarded;
using pockettune::Java;
using pockettune::Module;

namespace {

Module& module_of(JNIEnv* env, jobject self) {
  const Java& java = Java::of(env);
  const jobject hybrid = env->GetObjectField(self, java.module_hybrid);
  const jobject destructor = env->GetObjectField(hybrid, java.hybrid_destructor);
  auto* module = reinterpret_cast<Module*>(env->GetLongField(destructor, java.destructor_pointer));
  env->DeleteLocalRef(hybrid);
  env->DeleteLocalRef(destructor);
  if (!module) throw pockettune::EngineFailure(Error::invalid_argument, "the module was destroyed");
  return *module;
}

}  // namespace

extern "C" {

JNIEXPORT void JNICALL Java_com_facebook_jni_HybridData_00024Destructor_deleteNative(JNIEnv*,
                                                                                     jclass,
                                                                                     jlong module) {
  delete reinterpret_cast<Module*>(module);
}

// A number of threads below 1 leaves the runtime's own choice, as the official
// natives do. Every mode maps the file.
JNIEXPORT jobject JNICALL Java_org_pytorch_executorch_Module_initHybrid(JNIEnv* env, jclass,
                                                                        jstring path, jint /*mode*/,
                                                                        jint threads) {
  return guarded<jobject>(env, nullptr, [&] {
    const Java& java = Java::of(env);
    if (threads > 0) pockettune::check(pockettune_engine_set_threads(threads), "threads");
    auto module = std::make_unique<Module>(pockettune::text_of(env, path));
    const jobject hybrid = env->NewObject(java.hybrid, java.hybrid_new);
    pockettune::throw_if_pending(env);
    env->SetLongField(env->GetObjectField(hybrid, java.hybrid_destructor), java.destructor_pointer,
                      reinterpret_cast<jlong>(module.release()));
    return hybrid;
  });
}

JNIEXPORT jobjectArray JNICALL Java_org_pytorch_executorch_Module_getMethods(JNIEnv* env,
                                                                             jobject self) {
  return guarded<jobjectArray>(
      env, nullptr, [&] { return pockettune::strings(env, module_of(env, self).method_names()); });
}

JNIEXPORT jint JNICALL Java_org_pytorch_executorch_Module_loadMethodNative(JNIEnv* env,
                                                                           jobject self,
                                                                           jstring name) {
  return guarded<jint>(env, static_cast<jint>(Error::internal), [&] {
    module_of(env, self).method(pockettune::text_of(env, name));
    return static_cast<jint>(Error::ok);
  });
}

JNIEXPORT jobjectArray JNICALL Java_org_pytorch_executorch_Module_executeNative(
    JNIEnv* env, jobject self, jstring name, jobjectArray arguments) {
  return guarded<jobjectArray>(env, nullptr, [&] {
    pockettune::LoadedMethod& method = module_of(env, self).method(pockettune::text_of(env, name));
    const jsize count = env->GetArrayLength(arguments);
    std::vector<pockettune::Input> inputs;
    for (jsize i = 0; i < count; i++) {
      const jobject evalue = env->GetObjectArrayElement(arguments, i);
      inputs.push_back(pockettune::input_of(env, evalue));
      env->DeleteLocalRef(evalue);
    }
    method.run(inputs);
    const auto outputs = static_cast<jsize>(method.outputs().size());
    const jobjectArray results = env->NewObjectArray(outputs, Java::of(env).evalue, nullptr);
    pockettune::throw_if_pending(env);
    for (jsize i = 0; i < outputs; i++) {
      const auto index = static_cast<size_t>(i);
      const jobject evalue =
          pockettune::evalue_of(env, method.outputs()[index], method.output_data(index));
      env->SetObjectArrayElement(results, i, evalue);
      env->DeleteLocalRef(evalue);
    }
    return results;
  });
}

// The log's last error is in our sentences already, so the buffer that Java adds to them stays
// empty.
JNIEXPORT jobjectArray JNICALL
Java_org_pytorch_executorch_Module_readLogBufferStaticNative(JNIEnv* env, jclass) {
  return guarded<jobjectArray>(env, nullptr, [&] { return pockettune::strings(env, {}); });
}

JNIEXPORT jobjectArray JNICALL Java_org_pytorch_executorch_Module_readLogBufferNative(JNIEnv* env,
                                                                                      jobject) {
  return guarded<jobjectArray>(env, nullptr, [&] { return pockettune::strings(env, {}); });
}

/// What the official Java API does not tell: HostRuntime.version().
JNIEXPORT jstring JNICALL Java_org_pockettune_host_HostRuntime_version(JNIEnv* env, jobject) {
  return env->NewStringUTF(pockettune_engine_version());
}
}

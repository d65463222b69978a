#include "parallel/nccl_library.h"

#include <dlfcn.h>
#include <fmt/format.h>

#include <cstdlib>

namespace elastron::parallel {

namespace {

constexpr int kOldest = NCCL_VERSION(2, 10, 3);  // the first with bfloat16

std::string version_text(int code) {
  // 2.9 and newer: major * 10000 + minor * 100 + patch; older ones: major * 1000 + ...
  const int major = code < 10000 ? code / 1000 : code / 10000;
  const int minor = code < 10000 ? code % 1000 / 100 : code % 10000 / 100;
  return fmt::format("{}.{}.{}", major, minor, code % 100);
}

}  // namespace

std::unique_ptr<NcclLibrary> NcclLibrary::open(std::string& why) {
  const char* chosen = std::getenv("ELASTRON_NCCL_LIBRARY");
  const std::string file = chosen != nullptr ? chosen : "libnccl.so.2";
  void* handle = dlopen(file.c_str(), RTLD_NOW | RTLD_LOCAL);
  if (handle == nullptr) {
    why = fmt::format("no NCCL ({})", dlerror());
    return nullptr;
  }
  auto library = std::make_unique<NcclLibrary>();
  std::string missing;
  const auto find = [&]<class F>(F& function, const char* name, bool required = true) {
    function = reinterpret_cast<F>(dlsym(handle, name));
    if (function == nullptr && required && missing.empty()) missing = name;
  };
  find(library->get_version, "ncclGetVersion");
  find(library->get_error_string, "ncclGetErrorString");
  find(library->get_last_error, "ncclGetLastError", false);
  find(library->get_unique_id, "ncclGetUniqueId");
  find(library->comm_init_rank, "ncclCommInitRank");
  find(library->comm_destroy, "ncclCommDestroy");
  find(library->comm_abort, "ncclCommAbort");
  find(library->comm_get_async_error, "ncclCommGetAsyncError");
  find(library->all_reduce, "ncclAllReduce");
  find(library->all_gather, "ncclAllGather");
  find(library->reduce_scatter, "ncclReduceScatter");
  find(library->broadcast, "ncclBroadcast");
  find(library->send, "ncclSend");
  find(library->recv, "ncclRecv");
  find(library->group_start, "ncclGroupStart");
  find(library->group_end, "ncclGroupEnd");
  int version = 0;
  if (!missing.empty()) {
    why = fmt::format("{} is no NCCL: it has no {}", file, missing);
  } else if (library->get_version(&version) != ncclSuccess || version < kOldest) {
    why = fmt::format("{} is NCCL {}; {} is the oldest that will do", file, version_text(version),
                      version_text(kOldest));
  } else {
    return library;
  }
  dlclose(handle);
  return nullptr;
}

std::string NcclLibrary::version() const {
  int code = 0;
  get_version(&code);
  return version_text(code);
}

}  // namespace elastron::parallel

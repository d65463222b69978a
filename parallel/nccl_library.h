// NCCL's functions, found when the program runs: it starts where there is no NCCL, and takes the
// one the machine has (the interface is stable since 2.10). $ELASTRON_NCCL_LIBRARY names another
// file.
#pragma once
#include <nccl.h>

#include <memory>
#include <string>

namespace elastron::parallel {

struct NcclLibrary {
  // Null when there is none or it is too old; `why` then says so. Stays loaded.
  static std::unique_ptr<NcclLibrary> open(std::string& why);

  std::string version() const;  // "2.28.9"

  decltype(&ncclGetVersion) get_version = nullptr;
  decltype(&ncclGetErrorString) get_error_string = nullptr;
  decltype(&ncclGetLastError) get_last_error = nullptr;  // null before 2.13
  decltype(&ncclGetUniqueId) get_unique_id = nullptr;
  decltype(&ncclCommInitRank) comm_init_rank = nullptr;
  decltype(&ncclCommDestroy) comm_destroy = nullptr;
  decltype(&ncclCommAbort) comm_abort = nullptr;
  decltype(&ncclCommGetAsyncError) comm_get_async_error = nullptr;
  decltype(&ncclAllReduce) all_reduce = nullptr;
  decltype(&ncclAllGather) all_gather = nullptr;
  decltype(&ncclReduceScatter) reduce_scatter = nullptr;
  decltype(&ncclBroadcast) broadcast = nullptr;
  decltype(&ncclSend) send = nullptr;
  decltype(&ncclRecv) recv = nullptr;
  decltype(&ncclGroupStart) group_start = nullptr;
  decltype(&ncclGroupEnd) group_end = nullptr;
};

}  // namespace elastron::parallel

// NCCL's interface over shared memory, for ranks whose GPU is the emulated one. Loaded through
// ELASTRON_NCCL_LIBRARY. An operation is done when the call returns; every collective is made of
// pieces that go through a mailbox per pair of ranks.
//
// ELASTRON_STAND_IN_FAULT=RANK:OPERATION:N:KIND has the N-th OPERATION of world rank RANK fail:
//   error  the call returns an error
//   async  the call succeeds, nothing is sent, and the communicator reports an error later
//   hang   the call succeeds, nothing is sent, and the stream stops
//   wrong  one element of what a sum gives is another
// Other ranks' operations that get nothing for a second stop their streams in turn.
#include <fcntl.h>
#include <nccl.h>
#include <sched.h>
#include <sys/mman.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <random>
#include <string>
#include <vector>

#include "core/dtype.h"
#include "tests/support/cuda_emulator/memory.h"

namespace {

constexpr size_t kPiece = size_t(64) << 10;

struct Mailbox {
  std::atomic<uint32_t> full{0};
  uint32_t bytes = 0;
  char data[kPiece];
};

size_t size_of(ncclDataType_t t) {
  switch (t) {
    case ncclFloat64:
    case ncclInt64: return 8;
    case ncclFloat32:
    case ncclInt32: return 4;
    case ncclBfloat16: return 2;
    case ncclUint8: return 1;
    default: std::abort();
  }
}

struct Message {
  int peer;
  char* data;
  size_t bytes;
  size_t moved = 0;
};

thread_local std::string last_error;
thread_local bool spoil = false;  // the sum under way
thread_local int group_depth = 0;
thread_local std::vector<Message> sends, receives;
thread_local ncclComm_t group_comm = nullptr;
thread_local cudaStream_t group_stream = nullptr;

}  // namespace

struct ncclComm {
  Mailbox* boxes = nullptr;
  int rank = 0, size = 1;
  std::atomic<ncclResult_t> state{ncclSuccess};
  std::string name;

  Mailbox& box(int from, int to) { return boxes[from * size + to]; }
  size_t mapped() const { return sizeof(Mailbox) * size_t(size) * size_t(size); }
};

namespace {

// False when nothing moved for a second.
bool exchange(ncclComm_t comm, std::vector<Message>& out, std::vector<Message>& in) {
  using Clock = std::chrono::steady_clock;
  auto last = Clock::now();
  for (;;) {
    bool moved = false, left = false;
    for (Message& m : out) {
      if (m.moved == m.bytes) continue;
      left = true;
      Mailbox& box = comm->box(comm->rank, m.peer);
      if (box.full.load(std::memory_order_acquire) != 0) continue;
      box.bytes = uint32_t(std::min(kPiece, m.bytes - m.moved));
      std::memcpy(box.data, m.data + m.moved, box.bytes);
      m.moved += box.bytes;
      box.full.store(1, std::memory_order_release);
      moved = true;
    }
    for (Message& m : in) {
      if (m.moved == m.bytes) continue;
      left = true;
      Mailbox& box = comm->box(m.peer, comm->rank);
      if (box.full.load(std::memory_order_acquire) == 0) continue;
      if (m.moved + box.bytes > m.bytes) {
        std::fprintf(stderr, "nccl stand-in: a message is longer than what waits for it\n");
        std::abort();
      }
      std::memcpy(m.data + m.moved, box.data, box.bytes);
      m.moved += box.bytes;
      box.full.store(0, std::memory_order_release);
      moved = true;
    }
    if (!left) return true;
    if (moved) {
      last = Clock::now();
    } else if (Clock::now() - last >
               std::chrono::seconds(std::getenv("ELASTRON_STAND_IN_FAULT") ? 3 : 60)) {
      return false;
    } else {
      sched_yield();
    }
  }
}

// What is to become of this call: ncclSuccess and `go` for an ordinary one.
ncclResult_t fault(ncclComm_t comm, const char* operation, cudaStream_t stream, bool& go) {
  go = !elastron::emulator::is_stalled(stream);  // behind what never ends
  if (!go) return ncclSuccess;
  const char* text = std::getenv("ELASTRON_STAND_IN_FAULT");
  const char* me = std::getenv("OMPI_COMM_WORLD_RANK");
  if (text == nullptr) return ncclSuccess;
  int rank = 0, which = 0;
  char name[32] = "", kind[32] = "";
  if (std::sscanf(text, "%d:%31[^:]:%d:%31s", &rank, name, &which, kind) != 4) std::abort();
  static int calls = 0;
  if (me == nullptr || std::atoi(me) != rank || std::strcmp(name, operation) != 0) {
    return ncclSuccess;
  }
  if (++calls != which) return ncclSuccess;
  if (std::strcmp(kind, "wrong") == 0) {
    spoil = true;
    return ncclSuccess;
  }
  go = false;
  if (std::strcmp(kind, "error") == 0) {
    last_error = "the test asked for it";
    return ncclSystemError;
  }
  elastron::emulator::stall(stream);
  if (std::strcmp(kind, "async") == 0) comm->state = ncclRemoteError;
  return ncclSuccess;
}

ncclResult_t run(const char* name, ncclComm_t comm, cudaStream_t stream, std::vector<Message> out,
                 std::vector<Message> in) {
  std::vector<elastron::emulator::Bytes> touched;
  for (const Message& m : out) touched.push_back({m.data, m.bytes});
  for (const Message& m : in) touched.push_back({m.data, m.bytes, true});
  elastron::emulator::issue(stream, name, std::move(touched), [=]() mutable {
    if (!exchange(comm, out, in)) elastron::emulator::stall(stream);
  });
  return ncclSuccess;
}

template <class A, class T>
void reduce(char* into, const std::vector<std::vector<char>>& parts, size_t count, ncclRedOp_t op) {
  for (size_t i = 0; i < count; ++i) {
    A total{};
    for (size_t r = 0; r < parts.size(); ++r) {
      T value;
      std::memcpy(&value, parts[r].data() + i * sizeof(T), sizeof(T));
      const A v = A(value);
      if (r == 0) {
        total = v;
      } else if (op == ncclSum) {
        total += v;
      } else {
        total = op == ncclMax ? std::max(total, v) : std::min(total, v);
      }
    }
    T result;
    if constexpr (std::is_same_v<T, elastron::bf16>) {
      result = T(float(total));
    } else {
      result = T(total);
    }
    std::memcpy(into + i * sizeof(T), &result, sizeof(T));
  }
}

void reduce_any(char* into, const std::vector<std::vector<char>>& parts, size_t count,
                ncclDataType_t type, ncclRedOp_t op) {
  switch (type) {
    case ncclFloat64: return reduce<double, double>(into, parts, count, op);
    case ncclFloat32: return reduce<float, float>(into, parts, count, op);
    case ncclInt64: return reduce<int64_t, int64_t>(into, parts, count, op);
    case ncclInt32: return reduce<int32_t, int32_t>(into, parts, count, op);
    case ncclBfloat16:
      // The real one adds in bfloat16: whoever wants better does not ask for it.
      if (op == ncclSum) std::abort();
      return reduce<float, elastron::bf16>(into, parts, count, op);
    default: std::abort();
  }
}

// out [count] = in of all ranks, or this rank's part of it.
ncclResult_t reduced(const char* operation, const void* in, void* out, size_t count,
                     ncclDataType_t type, ncclRedOp_t op, bool scattered, ncclComm_t comm,
                     cudaStream_t stream) {
  bool go = true;
  if (const auto result = fault(comm, operation, stream, go); !go) return result;
  const size_t bytes = count * size_of(type);
  std::vector<std::vector<char>> parts(size_t(comm->size), std::vector<char>(bytes));
  std::vector<Message> sent, received;
  for (int r = 0; r < comm->size; ++r) {
    const size_t from = scattered ? size_t(r) * bytes : 0;
    sent.push_back({r, static_cast<char*>(const_cast<void*>(in)) + from, bytes});
    received.push_back({r, parts[size_t(r)].data(), bytes});
  }
  const size_t read = scattered ? bytes * size_t(comm->size) : bytes;
  elastron::emulator::issue(stream, operation, {{in, read}, {out, bytes, true}}, [&] {
    if (exchange(comm, sent, received)) {
      if (spoil) parts[0][bytes / 2 | 1] ^= 0x40;
      spoil = false;
      reduce_any(static_cast<char*>(out), parts, count, type, op);
    } else {
      elastron::emulator::stall(stream);
    }
  });
  return ncclSuccess;
}

}  // namespace

extern "C" {

ncclResult_t ncclGetVersion(int* version) {
  *version = NCCL_VERSION_CODE;
  return ncclSuccess;
}
const char* ncclGetErrorString(ncclResult_t result) {
  return result == ncclSystemError ? "unhandled system error" : "remote process exited";
}
const char* ncclGetLastError(ncclComm_t) { return last_error.c_str(); }

ncclResult_t ncclGetUniqueId(ncclUniqueId* id) {
  std::random_device random;
  std::snprintf(id->internal, sizeof id->internal, "/elastron-stand-in-%08x%08x", random(),
                random());
  return ncclSuccess;
}

ncclResult_t ncclCommInitRank(ncclComm_t* comm, int size, ncclUniqueId id, int rank) {
  auto made = new ncclComm;
  made->rank = rank;
  made->size = size;
  made->name = id.internal;
  const int file = shm_open(id.internal, O_CREAT | O_RDWR, 0600);
  if (file < 0 || ftruncate(file, off_t(made->mapped())) != 0) return ncclSystemError;
  void* memory = mmap(nullptr, made->mapped(), PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
  close(file);
  if (memory == MAP_FAILED) return ncclSystemError;
  made->boxes = static_cast<Mailbox*>(memory);
  // All are there when each has heard from each; then the name can go.
  std::vector<char> bytes(size_t(size), 0);
  std::vector<Message> out, in;
  for (int r = 0; r < size; ++r) {
    out.push_back({r, &bytes[size_t(rank)], 1});
    in.push_back({r, &bytes[size_t(r)], 1});
  }
  if (!exchange(made, out, in)) return ncclRemoteError;
  shm_unlink(id.internal);
  *comm = made;
  return ncclSuccess;
}

ncclResult_t ncclCommDestroy(ncclComm_t comm) {
  munmap(comm->boxes, comm->mapped());
  delete comm;
  return ncclSuccess;
}
ncclResult_t ncclCommAbort(ncclComm_t comm) {
  elastron::emulator::resume_streams();
  return ncclCommDestroy(comm);
}
ncclResult_t ncclCommGetAsyncError(ncclComm_t comm, ncclResult_t* state) {
  *state = comm->state;
  return ncclSuccess;
}

ncclResult_t ncclAllGather(const void* in, void* out, size_t count, ncclDataType_t type,
                           ncclComm_t comm, cudaStream_t stream) {
  bool go = true;
  if (const auto result = fault(comm, "all_gather", stream, go); !go) return result;
  const size_t bytes = count * size_of(type);
  std::vector<Message> sent, received;
  for (int r = 0; r < comm->size; ++r) {
    sent.push_back({r, static_cast<char*>(const_cast<void*>(in)), bytes});
    received.push_back({r, static_cast<char*>(out) + size_t(r) * bytes, bytes});
  }
  return run("all_gather", comm, stream, sent, received);
}

ncclResult_t ncclAllReduce(const void* in, void* out, size_t count, ncclDataType_t type,
                           ncclRedOp_t op, ncclComm_t comm, cudaStream_t stream) {
  return reduced("all_reduce", in, out, count, type, op, false, comm, stream);
}

ncclResult_t ncclReduceScatter(const void* in, void* out, size_t count, ncclDataType_t type,
                               ncclRedOp_t op, ncclComm_t comm, cudaStream_t stream) {
  return reduced("reduce_scatter", in, out, count, type, op, true, comm, stream);
}

ncclResult_t ncclBroadcast(const void* in, void* out, size_t count, ncclDataType_t type, int root,
                           ncclComm_t comm, cudaStream_t stream) {
  bool go = true;
  if (const auto result = fault(comm, "broadcast", stream, go); !go) return result;
  const size_t bytes = count * size_of(type);
  std::vector<Message> sent, received;
  if (comm->rank == root) {
    for (int r = 0; r < comm->size; ++r) {
      sent.push_back({r, static_cast<char*>(const_cast<void*>(in)), bytes});
    }
  }
  received.push_back({root, static_cast<char*>(out), bytes});
  return run("broadcast", comm, stream, sent, received);
}

ncclResult_t ncclGroupStart() {
  ++group_depth;
  return ncclSuccess;
}
ncclResult_t ncclSend(const void* in, size_t count, ncclDataType_t type, int peer, ncclComm_t comm,
                      cudaStream_t stream) {
  if (group_depth != 1) return ncclInvalidUsage;
  group_comm = comm;
  group_stream = stream;
  sends.push_back({peer, static_cast<char*>(const_cast<void*>(in)), count * size_of(type)});
  return ncclSuccess;
}
ncclResult_t ncclRecv(void* out, size_t count, ncclDataType_t type, int peer, ncclComm_t comm,
                      cudaStream_t stream) {
  if (group_depth != 1) return ncclInvalidUsage;
  group_comm = comm;
  group_stream = stream;
  receives.push_back({peer, static_cast<char*>(out), count * size_of(type)});
  return ncclSuccess;
}
ncclResult_t ncclGroupEnd() {
  --group_depth;
  bool go = true;
  const auto result = fault(group_comm, "all_to_all", group_stream, go);
  const auto out = std::exchange(sends, {});
  const auto in = std::exchange(receives, {});
  return go ? run("all_to_all", group_comm, group_stream, out, in) : result;
}

}  // extern "C"

// The owner of MPI's lifetime. Built once, near the top of main(); the only source of MPI
// communicators.
//
//   World world;                      // under mpirun, or alone: then it is a world of one
//   ...
//   world.finalize();                 // last line of the good path
//   world.abort(error.kind());        // the bad path, once the error line is out
//
// A process started without mpirun needs no network, daemon or remote shell and may run as root.
#pragma once
#include <cstdint>
#include <memory>
#include <string>

#include "core/error.h"
#include "parallel/communicator.h"

namespace elastron::parallel {

class Activity;  // parallel/activity.h

struct WorldOptions {
  // Most bytes handed to MPI in one call: its counts are ints, and some of its algorithms compute
  // byte offsets in ints too. Larger collectives are cut. Tests lower it.
  int64_t max_bytes_per_call = int64_t(1) << 30;
};

class World {
 public:
  // Initialises MPI with MPI_THREAD_MULTIPLE, unless the process has done so already (then that
  // code also finalises it). Throws CommunicationError when MPI cannot give that.
  explicit World(const WorldOptions& options = {});
  ~World();  // never communicates
  World(const World&) = delete;
  World& operator=(const World&) = delete;

  int rank() const { return rank_; }
  int size() const { return size_; }
  int node_rank() const { return node_rank_; }  // among the ranks of this machine
  int node_size() const { return node_size_; }
  std::string library() const;  // "Open MPI v4.1.4"
  // The ranks of the other machines, for people: "rank 1 on host2; ranks 2, 3 on host3". Empty
  // where there are none.
  const std::string& elsewhere() const { return elsewhere_; }

  // Collective: ranks that pass the same color form a group, ordered by key. A group of one is a
  // SelfCommunicator. The world must outlive what it returns.
  std::unique_ptr<Communicator> split(int color, int key, const std::string& axis);

  // The watchdog reads here what each rank of this machine is doing.
  Activity& activity() const { return *activity_; }

  // Collective, once, on the good path. No communicator may be used afterwards.
  void finalize();

  // Ends the whole job with this exit code. From any thread. Open MPI's launcher waits for machines
  // that cannot be reached: where it has not ended 10 s later, it is killed.
  [[noreturn]] void abort(ExitCode code) noexcept;

 private:
  struct Handles;  // the MPI objects
  WorldOptions options_;
  std::unique_ptr<Handles> handles_;
  std::unique_ptr<Activity> activity_;
  std::string elsewhere_;
  int rank_ = 0, size_ = 1, node_rank_ = 0, node_size_ = 1;
};

}  // namespace elastron::parallel

// A library that does the collectives of another device's tensors, such as NCCL for GPUs. A mesh
// asks it for a communicator over each of its groups.
#pragma once
#include <memory>
#include <string>

#include "parallel/communicator.h"

namespace elastron::parallel {

class CollectiveBackend {
 public:
  virtual ~CollectiveBackend() = default;
  CollectiveBackend(const CollectiveBackend&) = delete;
  CollectiveBackend& operator=(const CollectiveBackend&) = delete;

  // Collective over the group of `host`, which goes on to do what concerns the host. Must not
  // outlive this. A group of one comes back as it is.
  virtual std::unique_ptr<Communicator> over(std::unique_ptr<Communicator> host) = 0;
  virtual std::string library() const = 0;  // "NCCL 2.28.9"
  // Ends what its communicators have under way, and may never end by itself; they are of no use from
  // then on. On every rank.
  virtual void abandon() = 0;

 protected:
  CollectiveBackend() = default;
};

}  // namespace elastron::parallel

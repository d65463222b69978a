// Collectives over one axis of the mesh. Counted in elements of typed tensors, never in bytes.
// Every rank of the group must call the same operations in the same order with the same shapes.
// A failing collective throws CommunicationError with the library's text, the axis and the rank.
#pragma once
#include <cstdint>
#include <functional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "core/tensor.h"
#include "parallel/pending.h"

namespace elastron::parallel {

enum class ReduceOp : uint8_t { sum, max, min };

class Communicator {
 public:
  virtual ~Communicator() = default;
  Communicator(const Communicator&) = delete;
  Communicator& operator=(const Communicator&) = delete;

  virtual int rank() const = 0;
  virtual int size() const = 0;
  virtual std::string_view axis() const = 0;  // "data", "tensor", "world", ... for messages

  // Contiguous tensors (any dtype for movement; float64, float32, bfloat16, int64, int32 for
  // reductions; bfloat16 is reduced in float32). The result is the same bits on every rank.
  [[nodiscard]] virtual Pending all_reduce(Tensor& t, ReduceOp op) = 0;
  // out [size * n, ...] = the ranks' in [n, ...], in rank order.
  [[nodiscard]] virtual Pending all_gather(const Tensor& in, Tensor& out) = 0;
  // out [n, ...] = this rank's part of the sum over ranks of in [size * n, ...].
  [[nodiscard]] virtual Pending reduce_scatter(const Tensor& in, Tensor& out) = 0;
  // Part r of in [size * n, ...] goes to rank r; out part r comes from rank r.
  [[nodiscard]] virtual Pending all_to_all(const Tensor& in, Tensor& out) = 0;
  [[nodiscard]] virtual Pending broadcast(Tensor& t, int root) = 0;
  virtual void barrier() = 0;

  // Small host-side values (counters, flags, metrics, agreement before a save); blocking.
  virtual void all_reduce_host(std::span<double> values, ReduceOp op) = 0;
  virtual void all_reduce_host(std::span<int64_t> values, ReduceOp op) = 0;
  virtual std::vector<std::string> all_gather_host(const std::string& value) = 0;
  virtual std::string broadcast_host(const std::string& value, int root) = 0;

 protected:
  Communicator() = default;
};

// The group of one: costs nothing.
class SelfCommunicator final : public Communicator {
 public:
  explicit SelfCommunicator(std::string axis) : axis_(std::move(axis)) {}
  int rank() const override { return 0; }
  int size() const override { return 1; }
  std::string_view axis() const override { return axis_; }
  Pending all_reduce(Tensor& t, ReduceOp op) override;
  Pending all_gather(const Tensor& in, Tensor& out) override;
  Pending reduce_scatter(const Tensor& in, Tensor& out) override;
  Pending all_to_all(const Tensor& in, Tensor& out) override;
  Pending broadcast(Tensor& t, int root) override;
  void barrier() override {}
  void all_reduce_host(std::span<double>, ReduceOp) override {}
  void all_reduce_host(std::span<int64_t>, ReduceOp) override {}
  std::vector<std::string> all_gather_host(const std::string& value) override { return {value}; }
  std::string broadcast_host(const std::string& value, int) override { return value; }

 private:
  std::string axis_;
};

}  // namespace elastron::parallel

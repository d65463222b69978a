// What a device and the links between devices can do: configs/devices/*.yaml. All fields of a file
// must be there.
#pragma once
#include <string>
#include <string_view>

#include "core/config/schema.h"
#include "core/device.h"
#include "core/dtype.h"

namespace elastron::train {

struct DeviceMemory {
  double bytes = 0;      // of a device
  double bandwidth = 0;  // bytes per second
  double usable = 0;     // share that a rank may fill
};

// Operations per second by the data sheet, and the shares of them that are reached.
struct DeviceCompute {
  double bfloat16 = 0, float32 = 0;
  double linear_share = 0;
  double attention_forward_share = 0, attention_backward_share = 0;
  double bandwidth_share = 0;  // of memory.bandwidth, by norms, products by element, optimiser
  double launch_seconds = 0;   // from one small operation to the next
};

// One direction, per device.
struct DeviceLink {
  double bandwidth = 0;  // bytes per second that collectives reach
  double latency = 0;    // seconds
};

struct DeviceSpec {
  std::string name;
  DeviceKind kind = DeviceKind::cuda;
  double per_node = 0;  // devices of a machine
  DeviceMemory memory;
  DeviceCompute compute;
  DeviceLink node, network;  // inside a machine, between machines

  double flops(DType dtype) const {
    return dtype == DType::bf16 ? compute.bfloat16 : compute.float32;
  }
};

// `device` is a file, or a name: `folder`/<name>.yaml. Throws UsageError: an unknown name, with the
// nearest one that exists; what is wrong in the file, with key and line; a field that is missing.
DeviceSpec load_device_spec(const std::string& device, const std::string& folder);

}  // namespace elastron::train

namespace elastron::config {

template <>
struct EnumNames<DeviceKind> {
  static constexpr NameOf<DeviceKind> names[] = {{DeviceKind::cuda, "cuda"},
                                                 {DeviceKind::cpu, "cpu"}};
};
template <>
struct Schema<train::DeviceMemory> {
  using C = train::DeviceMemory;
  static constexpr auto fields = std::tuple{
      field("bytes", &C::bytes, greater_than(0), "of one device"),
      field("bandwidth", &C::bandwidth, greater_than(0), "bytes per second"),
      field("usable", &C::usable, greater_than(0) && at_most(1), "share that a rank may fill")};
};
template <>
struct Schema<train::DeviceCompute> {
  using C = train::DeviceCompute;
  static constexpr Rule share = greater_than(0) && at_most(1);
  static constexpr auto fields = std::tuple{
      field("bfloat16", &C::bfloat16, greater_than(0), "operations per second, dense products"),
      field("float32", &C::float32, greater_than(0), "operations per second"),
      field("linear_share", &C::linear_share, share, "of that in linear layers"),
      field("attention_forward_share", &C::attention_forward_share, share, "of that in attention"),
      field("attention_backward_share", &C::attention_backward_share, share, "in its backward"),
      field("bandwidth_share", &C::bandwidth_share, share, "of memory.bandwidth"),
      field("launch_seconds", &C::launch_seconds, at_least(0), "of a small operation")};
};
template <>
struct Schema<train::DeviceLink> {
  using C = train::DeviceLink;
  static constexpr auto fields = std::tuple{
      field("bandwidth", &C::bandwidth, greater_than(0), "bytes per second and direction"),
      field("latency", &C::latency, at_least(0), "seconds")};
};
template <>
struct Schema<train::DeviceSpec> {
  using C = train::DeviceSpec;
  static constexpr auto fields =
      std::tuple{field("name", &C::name, not_empty(), "for tables"),
                 field("kind", &C::kind, "cuda or cpu"),
                 field("per_node", &C::per_node, at_least(1), "devices of a machine"),
                 section("memory", &C::memory, "memory"),
                 section("compute", &C::compute, "rates"),
                 section("node", &C::node, "links inside a machine"),
                 section("network", &C::network, "links between machines")};
};

}  // namespace elastron::config

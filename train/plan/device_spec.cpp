#include "train/plan/device_spec.h"

#include <algorithm>
#include <filesystem>
#include <vector>

#include "core/config/schema.h"
#include "core/config/suggest.h"
#include "core/error.h"

namespace elastron::config {

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

template Table table_of(train::DeviceSpec&);

}  // namespace elastron::config

namespace elastron::train {

namespace fs = std::filesystem;

namespace {

std::vector<std::string> names_in(const std::string& folder) {
  std::vector<std::string> names;
  std::error_code none;
  for (const auto& entry : fs::directory_iterator(folder, none)) {
    if (entry.path().extension() == ".yaml") names.push_back(entry.path().stem().string());
  }
  std::ranges::sort(names);
  return names;
}

std::string file_of(const std::string& device, const std::string& folder) {
  std::error_code none;
  if (fs::is_regular_file(device, none)) return device;
  const std::string named = folder + "/" + device + ".yaml";
  if (device.find('/') == std::string::npos && fs::is_regular_file(named, none)) return named;
  const auto names = names_in(folder);
  if (names.empty()) {
    throw UsageError("there is no device " + config::in_quotes(device), folder,
                     "give a device file, or the folder of such files in ELASTRON_DEVICES");
  }
  std::string all;
  for (const std::string& name : names) all += (all.empty() ? "" : ", ") + name;
  const std::string nearest = config::nearest(device, names);
  throw UsageError(
      "there is no device " + config::in_quotes(device), "--device",
      (nearest.empty() ? "" : "did you mean " + nearest + "? ") + "use " + all + ", or a file");
}

}  // namespace

DeviceSpec load_device_spec(const std::string& device, const std::string& folder) {
  const std::string file = file_of(device, folder);
  config::Origins origins;
  const std::string files[] = {file};
  auto spec = config::load_config<DeviceSpec>(files, {}, &origins);
  for (const auto& leaf : config::table_of(spec).leaves) {
    if (origins.of(leaf.key) == "default") {
      throw UsageError("the device file has no " + leaf.key, file,
                       "add it: " + leaf.doc + ", " + leaf.type);
    }
  }
  return spec;
}

}  // namespace elastron::train

#include "train/plan/device_spec.h"

#include <algorithm>
#include <filesystem>
#include <vector>

#include "core/config/suggest.h"
#include "core/error.h"

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

#include "train/checkpoint/checkpoint.h"

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <set>

#include <fmt/format.h>

#include "core/file/atomic_file.h"
#include "core/file/hdf5.h"
#include "core/json.h"
#include "core/log.h"
#include "parallel/agree.h"
#include "parallel/hdf5_access.h"
#include "train/checkpoint/integrity.h"

namespace elastron::train {

namespace fs = std::filesystem;

namespace {

constexpr const char* kPrefix = "step-";
constexpr const char* kSuffix = ".h5";

// One tensor of the file and this rank's part of it.
struct Slot {
  Hdf5Dataset dataset;
  Partition partition;
  Tensor local;
  std::vector<int64_t> offset() const {
    std::vector<int64_t> at(size_t(dataset.shape.rank()), 0);
    if (!partition.replicated()) at[size_t(partition.dim)] = partition.offset;
    return at;
  }
};

std::vector<Slot> slots_of(const CheckpointTensors& tensors) {
  std::vector<Slot> slots;
  for (size_t i = 0; i < tensors.parameters.size(); ++i) {
    const Parameter& p = *tensors.parameters[i];
    const Tensor& master = p.master.defined() ? p.master : p.value;
    const auto add = [&](const std::string& path, const Tensor& local) {
      slots.push_back({{path, local.dtype(), p.logical_shape}, p.partition, local});
    };
    add("/params/" + p.name, master);
    if (tensors.moments != nullptr) {
      add("/optimizer/" + p.name + "/exp_avg", (*tensors.moments)[i].exp_avg);
      add("/optimizer/" + p.name + "/exp_avg_sq", (*tensors.moments)[i].exp_avg_sq);
    }
  }
  return slots;
}

// Whether this rank writes its part: one replica of each shard does.
bool owns(const Slot& slot, const parallel::Mesh& mesh) {
  return mesh.grad().rank() == 0 && (!slot.partition.replicated() || mesh.tensor().rank() == 0);
}

// The shards of the tensor group tile each logical tensor exactly once.
void check_coverage(const std::vector<Slot>& slots, parallel::Mesh& mesh) {
  std::vector<int64_t> held;
  for (const Slot& s : slots) held.push_back(s.partition.replicated() ? 0 : s.local.numel());
  mesh.tensor().all_reduce_host(std::span<int64_t>(held), parallel::ReduceOp::sum);
  for (size_t i = 0; i < slots.size(); ++i) {
    ELASTRON_CHECK(slots[i].partition.replicated() || held[i] == slots[i].dataset.shape.numel(),
                   "shards do not tile " + slots[i].dataset.path);
  }
}

std::string values_text(const NamedValues& values) {
  return nlohmann::json(values).dump();
}

NamedValues parse_values(const std::string& text, const std::string& where) {
  NamedValues values;
  const auto object = parse_json_strict(text, where);
  if (!object.is_object()) throw CheckpointError("not a list of values", where, "use another one");
  for (const auto& [key, value] : object.items()) {
    if (!value.is_string()) throw CheckpointError("not a list of values", where, "use another one");
    values[key] = value.get<std::string>();
  }
  return values;
}

void write_header(Hdf5File& file, const CheckpointHeader& header) {
  file.set_attribute("format", "elastron-checkpoint");
  file.set_attribute("format_version", kCheckpointFormatVersion);
  file.set_attribute("elastron_version", ELASTRON_VERSION);
  file.set_attribute("step", header.step);
  file.set_attribute("tokens_seen", header.tokens_seen);
  file.set_attribute("objective", header.objective);
  file.set_attribute("backbone_fingerprint", header.backbone_fingerprint);
  file.write_text("/config", header.config);
  file.write_text("/objective/state", values_text(header.state));
  file.write_text("/data/cursor", values_text(header.data));
  file.write_text("/rng/state", values_text(header.random));
}

CheckpointHeader read_header(const Hdf5File& file, const std::string& path) {
  return {.step = file.integer_attribute("step"),
          .tokens_seen = file.integer_attribute("tokens_seen"),
          .objective = file.text_attribute("objective"),
          .backbone_fingerprint = file.text_attribute("backbone_fingerprint"),
          .config = file.read_text("/config"),
          .state = parse_values(file.read_text("/objective/state"), path + "/objective/state"),
          .data = parse_values(file.read_text("/data/cursor"), path + "/data/cursor"),
          .random = parse_values(file.read_text("/rng/state"), path + "/rng/state")};
}

void check_format(const Hdf5File& file, const std::string& path) {
  if (file.text_attribute("format") != "elastron-checkpoint") {
    throw CheckpointError("not an elastron checkpoint", path, "name a checkpoint file");
  }
  const int64_t version = file.integer_attribute("format_version");
  if (version != kCheckpointFormatVersion) {
    throw CheckpointError("format version " + std::to_string(version) + " is not supported", path,
                          "use the elastron that wrote it");
  }
  if (file.integer_attribute("complete") != 1) {
    throw CheckpointError("the checkpoint is not complete", path, "use another checkpoint");
  }
}

// Step number of a checkpoint's file name, or -1.
int64_t step_of(const fs::path& file) {
  const std::string name = file.filename().string();
  const std::string prefix = kPrefix, suffix = kSuffix;
  if (!name.starts_with(prefix) || !name.ends_with(suffix)) return -1;
  const std::string digits =
      name.substr(prefix.size(), name.size() - prefix.size() - suffix.size());
  if (digits.empty() || digits.size() > 18 ||
      digits.find_first_not_of("0123456789") != std::string::npos) {
    return -1;
  }
  return std::stoll(digits);
}

// Newest first.
std::vector<fs::path> checkpoints_in(const std::string& folder) {
  std::vector<fs::path> files;
  std::error_code error;
  for (const auto& entry : fs::directory_iterator(folder, error)) {
    if (step_of(entry.path()) >= 0) files.push_back(entry.path());
  }
  std::ranges::sort(files, [](const fs::path& a, const fs::path& b) { return step_of(a) > step_of(b); });
  return files;
}

std::string first_line(const fs::path& file) {
  std::ifstream in(file);
  std::string line;
  std::getline(in, line);
  return line;
}

}  // namespace

CheckpointStore::CheckpointStore(std::string folder, int64_t keep, parallel::Mesh& mesh)
    : folder_(std::move(folder)), keep_(std::max<int64_t>(keep, 2)), mesh_(mesh) {
  parallel::on_all_ranks(mesh.world(), [&] {
    if (mesh.world().rank() != 0) return;
    std::error_code error;
    fs::create_directories(folder_, error);
    if (error) {
      throw UsageError("cannot make the folder: " + error.message(), folder_,
                       "check output.dir and its permissions");
    }
    for (const auto& entry : fs::directory_iterator(folder_)) {
      const std::string name = entry.path().filename().string();
      if (name.starts_with('.') && name.ends_with(".tmp")) fs::remove(entry.path(), error);
    }
  });
}

std::string CheckpointStore::save(const CheckpointHeader& header,
                                  const CheckpointTensors& tensors) {
  const std::string path = fmt::format("{}/{}{:08d}{}", folder_, kPrefix, header.step, kSuffix);
  const std::string temporary = temporary_name(path);
  const auto slots = slots_of(tensors);
  check_coverage(slots, mesh_);
  parallel::Communicator& world = mesh_.world();
  try {
    parallel::on_all_ranks(world, [&] {
      Hdf5File file = Hdf5File::create(temporary, parallel::hdf5_group(world));
      for (const Slot& s : slots) file.make_dataset(s.dataset);
      for (const Slot& s : slots) {
        if (owns(s, mesh_)) file.write(s.dataset.path, s.local, s.offset());
      }
      file.close();
    });
    // What is in the file is compared with memory, not with what was meant to be written.
    std::vector<std::string> paths;
    for (const Slot& s : slots) paths.push_back(s.dataset.path);
    std::map<std::string, std::string> sums;
    parallel::on_all_ranks(world, [&] {
      const Hdf5File file = Hdf5File::open(temporary, false);
      for (const Slot& s : slots) {
        if (owns(s, mesh_)) compare_with_memory(file, temporary, s.dataset, s.local, s.offset());
      }
      sums = own_checksums(file, paths, world.rank(), world.size());
    });
    sums = gather_checksums(sums, world);
    parallel::on_all_ranks(world, [&] {
      if (world.rank() != 0) return;
      Hdf5File file = Hdf5File::open(temporary, true);
      write_header(file, header);
      seal(file, sums);
      file.close();
      publish_file(temporary, path);
      write_text_atomically(folder_ + "/latest", fs::path(path).filename().string() + "\n");
      delete_old();
    });
  } catch (...) {
    std::error_code ignored;
    if (world.rank() == 0) fs::remove(temporary, ignored);
    throw;
  }
  return path;
}

void CheckpointStore::delete_old() const {
  const std::string best = first_line(folder_ + "/best");
  int64_t kept = 0;
  for (const fs::path& file : checkpoints_in(folder_)) {
    if (kept < keep_ || file.filename().string() == best) {
      ++kept;
      continue;
    }
    std::error_code error;
    fs::remove(file, error);
    if (error) log_warning("cannot delete the old checkpoint {}: {}", file.string(), error.message());
  }
}

std::optional<std::string> CheckpointStore::newest_whole() const {
  std::string list;
  if (mesh_.world().rank() == 0) {
    for (const fs::path& file : checkpoints_in(folder_)) list += file.string() + "\n";
  }
  list = mesh_.world().broadcast_host(list, 0);
  std::string last_problem;
  for (size_t at = 0; at < list.size();) {
    const size_t end = list.find('\n', at);
    const std::string path = list.substr(at, end - at);
    at = end + 1;
    try {
      verify_checkpoint(path, mesh_);
      return path;
    } catch (const parallel::AgreedFailure& failure) {
      if (failure.line()) log_warning("passing over a broken checkpoint: {}", *failure.line());
      last_problem = path;
    }
  }
  if (last_problem.empty()) return {};
  parallel::on_all_ranks(mesh_.world(), [&] {
    throw CheckpointError("no checkpoint in the folder is whole", folder_,
                          "move them away to start afresh, or use --resume none");
  });
  return {};
}

std::string resolve_checkpoint(const std::string& path) {
  const auto named_by = [](const fs::path& file) {
    const std::string name = first_line(file);
    if (step_of(name) < 0) {
      throw CheckpointError("the file does not name a checkpoint", file.string(),
                            "name a step-*.h5 file");
    }
    return (file.parent_path() / name).string();
  };
  if (fs::is_directory(path)) {
    for (const std::string& folder : {path, path + "/checkpoints"}) {
      if (fs::exists(folder + "/latest")) return named_by(folder + "/latest");
    }
    throw CheckpointError("the folder has no checkpoint", path, "name a step-*.h5 file");
  }
  if (!fs::exists(path)) {
    throw CheckpointError("the checkpoint does not exist", path, "check the path");
  }
  const std::string name = fs::path(path).filename().string();
  return name == "latest" || name == "best" ? named_by(path) : path;
}

CheckpointHeader verify_checkpoint(const std::string& path, parallel::Mesh& mesh) {
  CheckpointHeader header;
  parallel::on_all_ranks(mesh.world(), [&] {
    const Hdf5File file = Hdf5File::open(path, false);
    check_format(file, path);
    verify_checksums(file, path, mesh.world().rank(), mesh.world().size());
    header = read_header(file, path);
  });
  return header;
}

void load_tensors(const std::string& path, const CheckpointTensors& tensors,
                  parallel::Mesh& mesh) {
  parallel::on_all_ranks(mesh.world(), [&] {
    const Hdf5File file = Hdf5File::open(path, false);
    auto slots = slots_of(tensors);
    const auto stored = file.list("/params");
    std::set<std::string> there(stored.begin(), stored.end()), wanted;
    std::string problems;
    for (const Slot& s : slots) {
      wanted.insert(s.dataset.path);
      if (s.dataset.path.starts_with("/params/") && !there.contains(s.dataset.path)) {
        problems += " missing " + s.dataset.path + ";";
        continue;
      }
      const Hdf5Dataset found = file.describe(s.dataset.path);
      if (!(found.shape == s.dataset.shape) || found.dtype != s.dataset.dtype) {
        problems += fmt::format(" {} is {} {}, the model has {} {};", s.dataset.path,
                                dtype_name(found.dtype), found.shape.str(),
                                dtype_name(s.dataset.dtype), s.dataset.shape.str());
      }
    }
    for (const std::string& name : stored) {
      if (!wanted.contains(name)) problems += " unexpected " + name + ";";
    }
    if (!problems.empty()) {
      problems.pop_back();
      throw CheckpointError("the checkpoint does not fit the model:" + problems, path,
                            "use the configuration it was trained with");
    }
    for (Slot& s : slots) file.read(s.dataset.path, s.local, s.offset());
  });
}

std::string describe_checkpoint(const std::string& path) {
  const Hdf5File file = Hdf5File::open(path, false);
  check_format(file, path);
  verify_checksums(file, path, 0, 1);
  const CheckpointHeader header = read_header(file, path);
  std::string text = fmt::format(
      "{}\n  whole: yes (every checksum verified)\n  format version: {}\n  written by elastron {}\n"
      "  objective: {}\n  step: {}\n  tokens seen: {}\n  backbone: {}\n",
      path, file.integer_attribute("format_version"), file.text_attribute("elastron_version"),
      header.objective, header.step, header.tokens_seen, header.backbone_fingerprint);
  for (const auto& [title, values] : {std::pair<const char*, const NamedValues&>{"state", header.state},
                                      {"data", header.data},
                                      {"random", header.random}}) {
    for (const auto& [key, value] : values) text += fmt::format("  {} {}: {}\n", title, key, value);
  }
  int64_t elements = 0;
  std::string tensors;
  const auto sums = stored_checksums(file, path);
  for (const std::string& name : file.list("/params")) {
    const Hdf5Dataset d = file.describe(name);
    elements += d.shape.numel();
    tensors += fmt::format("    {} {} {} {}\n", sums.at(name), name.substr(8), dtype_name(d.dtype),
                           d.shape.str());
  }
  return text + fmt::format("  parameters: {}\n", elements) + tensors;
}

}  // namespace elastron::train

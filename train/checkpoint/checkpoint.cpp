#include "train/checkpoint/checkpoint.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstring>
#include <filesystem>
#include <set>

#include "core/file/atomic_file.h"
#include "core/file/exists.h"
#include "core/file/hdf5.h"
#include "core/file/input_file.h"
#include "core/log.h"
#include "ops/elementwise.h"
#include "parallel/agree.h"
#include "parallel/hdf5_access.h"
#include "train/checkpoint/coverage.h"
#include "train/checkpoint/folder.h"
#include "train/checkpoint/inspect.h"
#include "train/checkpoint/integrity.h"

namespace elastron::train {

namespace fs = std::filesystem;

namespace {

// One tensor of the file and this rank's part of it.
struct Slot {
  Hdf5Dataset dataset;
  Partition partition;
  Tensor local;   // in the file's dtype; undefined where another rank has it
  Tensor loaded;  // what is filled from the file, in any dtype; undefined likewise
  int owner = 0;  // of mesh.grad(): writes it
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
    const DType master = accumulator_dtype(p.value.dtype());
    const int owner = tensors.owners.empty() ? 0 : tensors.owners[i];
    const auto add = [&](const std::string& path, const Tensor& local, const Tensor& loaded) {
      slots.push_back({.dataset = {path, master, p.logical_shape},
                       .partition = p.partition,
                       .local = local,
                       .loaded = loaded,
                       .owner = owner});
    };
    const bool in_value = p.value.dtype() == master;
    add("/params/" + p.name,
        p.master.defined() ? p.master
        : in_value         ? p.value
                           : Tensor{},
        p.master.defined() ? p.master : p.value);
    if (tensors.moments != nullptr) {
      const Moments& m = (*tensors.moments)[i];
      add("/optimizer/" + p.name + "/exp_avg", m.exp_avg, m.exp_avg);
      add("/optimizer/" + p.name + "/exp_avg_sq", m.exp_avg_sq, m.exp_avg_sq);
    }
  }
  return slots;
}

std::vector<Hdf5Dataset> datasets_of(const std::vector<Slot>& slots) {
  std::vector<Hdf5Dataset> datasets;
  for (const Slot& s : slots) datasets.push_back(s.dataset);
  return datasets;
}

// Whether this rank writes its part: one replica of each shard does.
bool owns(const Slot& slot, const parallel::Mesh& mesh) {
  return mesh.grad().rank() == slot.owner &&
         (!slot.partition.replicated() || mesh.tensor().rank() == 0);
}

// The shards of the tensor group tile each logical tensor exactly once; which rank has which is the
// program's doing, so that a fault is a mistake of the program.
void check_coverage(const std::vector<Slot>& slots, const parallel::Mesh& mesh) {
  std::string mine;
  for (const Slot& s : slots) {
    mine.append(reinterpret_cast<const char*>(&s.partition), sizeof s.partition);
  }
  const auto all = mesh.tensor().all_gather_host(mine);
  for (size_t i = 0; i < slots.size(); ++i) {
    std::vector<Partition> partitions;
    for (const std::string& bytes : all) {
      ELASTRON_CHECK(bytes.size() == mine.size(), "ranks hold different lists of parameters");
      std::memcpy(&partitions.emplace_back(), bytes.data() + i * sizeof(Partition),
                  sizeof(Partition));
    }
    const std::string fault = tiling_fault(slots[i].dataset.shape, partitions);
    ELASTRON_CHECK(fault.empty(), slots[i].dataset.path + ": " + fault);
  }
}

// The bytes that the file will take, with some room for the library's own.
uint64_t file_bytes(const std::vector<Slot>& slots, const CheckpointHeader& header) {
  uint64_t bytes = 64 << 10;
  for (const Slot& s : slots) {
    bytes += 2048 + uint64_t(s.dataset.shape.numel()) * dtype_size(s.dataset.dtype);
  }
  for (const auto& [path, text] : header_texts(header)) bytes += 1024 + text.size();
  return bytes;
}

// The file's content is compared with memory, not with what was meant to be written; replicas too.
void compare_with_memory(const Hdf5File& file, const std::vector<Slot>& slots,
                         const parallel::Mesh& mesh, const OnSlice& on_slice) {
  for (const Slot& s : slots) {
    if (!s.local.defined()) continue;
    if (same_as_memory(file, s.dataset, s.local.on_host(), s.offset(), on_slice)) continue;
    if (owns(s, mesh)) {
      throw CheckpointError("what was written is not what is in memory",
                            file.path() + s.dataset.path,
                            "check the disk; the previous checkpoint is kept");
    }
    throw NumericalError("this rank's replica of " + s.dataset.path + " differs from the first one",
                         fmt::format("rank {}", mesh.world().rank()),
                         "check the machine's memory; resume from the last checkpoint");
  }
}

bool is_foreign(const std::string& path, const std::string& run) {
  try {
    const std::string written_by = read_run(Hdf5File::open(path, false));
    return !written_by.empty() && written_by != run;
  } catch (const Error&) {  // damaged
    return false;
  }
}

}  // namespace

CheckpointStore::CheckpointStore(std::string folder, int64_t keep, parallel::Mesh& mesh,
                                 OnSlice on_slice)
    : folder_(std::move(folder)),
      keep_(std::max<int64_t>(keep, 2)),
      mesh_(mesh),
      on_slice_(std::move(on_slice)) {
  parallel::on_all_ranks(mesh.world(), [&] {
    if (mesh.world().rank() == 0) prepare_checkpoint_folder(folder_);
  });
}

void CheckpointStore::write_tensors(const std::string& temporary,
                                    const CheckpointTensors& tensors) const {
  parallel::Communicator& world = mesh_.world();
  const auto slots = slots_of(tensors);
  DatasetParts file = parallel::create_together(temporary, datasets_of(slots), world);
  parallel::on_all_ranks(world, [&] {
    for (const Slot& s : slots) {
      if (owns(s, mesh_)) file.write(s.dataset.path, s.local.on_host(), s.offset(), on_slice_);
    }
  });
  parallel::close_together(file, world);
}

std::string CheckpointStore::save(const CheckpointHeader& header,
                                  const CheckpointTensors& tensors) {
  const std::string path = folder_ + "/" + checkpoint_name(header.step);
  const std::string temporary = temporary_name(path);
  parallel::Communicator& world = mesh_.world();
  const auto slots = slots_of(tensors);
  check_coverage(slots, mesh_);

  const bool first = world.rank() == 0;
  const TemporaryFile cleanup(first ? temporary : "");
  parallel::on_all_ranks(world, [&] {
    std::error_code ignored;
    if (!first) return;
    fs::remove(temporary, ignored);
    check_room(temporary, file_bytes(slots, header), ExitCode::checkpoint);
  });
  write_tensors(temporary, tensors);

  const auto datasets = datasets_of(slots);
  std::string digests;
  parallel::on_all_ranks(world, [&] {
    const Hdf5File file = Hdf5File::open(temporary, false);
    compare_with_memory(file, slots, mesh_, on_slice_);
    digests = own_digests(file, datasets, world.rank(), world.size(), on_slice_);
  });
  const Checksums sums = combine_digests(datasets, world.all_gather_host(digests));
  parallel::on_all_ranks(world, [&] {
    if (!first) return;
    Hdf5File file = Hdf5File::open(temporary, true);
    seal(file, header, sums);
    file.close();
    publish(temporary, path);
    delete_old(path, header.run);
  });
  return path;
}

void CheckpointStore::mark_best(int64_t step) {
  parallel::on_all_ranks(mesh_.world(), [&] {
    const std::string name = checkpoint_name(step), best = folder_ + "/best";
    if (mesh_.world().rank() != 0 || named_in(best) == name) return;
    if (exists(folder_ + "/" + name)) point_at(best, step);
  });
}

void CheckpointStore::publish(const std::string& temporary, const std::string& path) const {
  {
    // The tensors were checked; sealing wrote to the file again.
    const Hdf5File file = Hdf5File::open(temporary, false);
    const Checksums sealed = sealed_checksums(file);
    auto datasets = sealed_datasets(file, sealed);
    std::erase_if(datasets, [](const Hdf5Dataset& d) {
      return d.path.starts_with("/params/") || d.path.starts_with("/optimizer/");
    });
    compare_checksums(file, sealed, combine_digests(datasets, {own_digests(file, datasets, 0, 1)}));
  }
  publish_file(temporary, path, ExitCode::checkpoint);
  point_at(folder_ + "/latest", step_of(fs::path(path).filename().string()));
}

// Checkpoints of later steps, and those that say that they are of another run, are not ours to
// delete.
void CheckpointStore::delete_old(const std::string& newest, const std::string& run) const {
  const std::string best = named_in(folder_ + "/best");
  int64_t kept = 1;
  for (const std::string& name : checkpoints_in(folder_)) {
    if (step_of(name) >= step_of(fs::path(newest).filename().string()) || name == best) continue;
    if (++kept <= keep_ || is_foreign(folder_ + "/" + name, run)) continue;
    std::error_code error;
    fs::remove(folder_ + "/" + name, error);
    if (error) log_warning("cannot delete the old checkpoint {}: {}", name, error.message());
  }
}

std::optional<VerifiedCheckpoint> newest_whole(
    const std::string& folder, parallel::Mesh& mesh,
    const std::function<bool(const VerifiedCheckpoint&)>& ours, const OnSlice& on_slice) {
  parallel::Communicator& world = mesh.world();
  std::string list;
  if (world.rank() == 0) {
    for (const std::string& name : resume_candidates(folder)) list += name + "\n";
    const std::string latest = folder + "/latest", fault = pointer_fault(latest);
    if (!fault.empty()) log_warning("{}: {}; the newest whole checkpoint is taken", latest, fault);
  }
  list = world.broadcast_host(list, 0);
  int broken = 0, foreign = 0;
  for (size_t at = 0; at < list.size();) {
    const size_t end = list.find('\n', at);
    VerifiedCheckpoint found{.path = folder + "/" + list.substr(at, end - at), .header = {}};
    at = end + 1;
    try {
      found.header = verify_checkpoint(found.path, mesh, on_slice);
      if (ours(found)) return found;
      ++foreign;
      log_warning("passing over the checkpoint of another run: {}", found.path);
    } catch (const parallel::AgreedFailure& failure) {
      ++broken;
      // Whichever rank found it, the one that speaks says it.
      for (const auto& line : world.all_gather_host(failure.line().value_or(""))) {
        if (!line.empty()) log_warning("passing over a broken checkpoint: {}", line);
      }
    }
  }
  if (broken > 0 && foreign == 0) {
    parallel::on_all_ranks(world, [&] {
      throw CheckpointError("no checkpoint in the folder is whole", folder,
                            "move them away to start afresh, or use --resume none");
    });
  }
  return {};
}

CheckpointHeader verify_checkpoint(const std::string& path, parallel::Mesh& mesh,
                                   const OnSlice& on_slice) {
  parallel::Communicator& world = mesh.world();
  parallel::on_all_ranks(world, [&] {
    if (world.rank() == 0) probe_checkpoint(path);
  });
  std::optional<Hdf5File> file;
  Checksums sealed;
  std::vector<Hdf5Dataset> datasets;
  std::string digests;
  parallel::on_all_ranks(world, [&] {
    file.emplace(Hdf5File::open(path, false));
    check_format(*file);
    sealed = sealed_checksums(*file);
    datasets = sealed_datasets(*file, sealed);
    digests = own_digests(*file, datasets, world.rank(), world.size(), on_slice);
  });
  const auto parts = world.all_gather_host(digests);
  CheckpointHeader header;
  parallel::on_all_ranks(world, [&] {
    compare_checksums(*file, sealed, combine_digests(datasets, parts));
    header = read_header(*file);
  });
  return header;
}

void load_tensors(const std::string& path, const CheckpointTensors& tensors, parallel::Mesh& mesh,
                  const OnSlice& on_slice) {
  parallel::on_all_ranks(mesh.world(), [&] {
    const Hdf5File file = Hdf5File::open(path, false);
    auto slots = slots_of(tensors);
    auto stored = file.list("/params");
    if (tensors.moments != nullptr) {
      const auto more = file.list("/optimizer");
      stored.insert(stored.end(), more.begin(), more.end());
    }
    const std::set<std::string> there(stored.begin(), stored.end());
    std::set<std::string> wanted;
    std::string problems;
    for (const Slot& s : slots) {
      wanted.insert(s.dataset.path);
      if (!there.contains(s.dataset.path)) {
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
    for (Slot& s : slots) {
      if (!s.loaded.defined()) continue;
      Tensor host = Tensor::empty(s.loaded.shape(), s.dataset.dtype, host_device());
      file.read(s.dataset.path, host, s.offset(), on_slice);
      s.loaded.transfer_from(host.dtype() == s.loaded.dtype() ? host
                                                              : ops::cast(host, s.loaded.dtype()));
    }
  });
}

std::map<std::string, Tensor> read_parameters(const std::string& path, Device& device,
                                              const OnSlice& on_slice) {
  const Hdf5File file = Hdf5File::open(path, false);
  const std::string prefix = "/params/";
  std::map<std::string, Tensor> parameters;
  for (const std::string& dataset : file.list("/params")) {
    const Hdf5Dataset d = file.describe(dataset);
    Tensor values = Tensor::empty(d.shape, d.dtype, device);
    file.read(dataset, values, std::vector<int64_t>(size_t(d.shape.rank()), 0), on_slice);
    parameters[dataset.substr(prefix.size())] = values;
  }
  return parameters;
}

}  // namespace elastron::train

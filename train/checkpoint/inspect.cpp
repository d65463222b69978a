#include "train/checkpoint/inspect.h"

#include <fmt/format.h>

#include "core/error.h"
#include "core/file/child_process.h"
#include "train/checkpoint/integrity.h"

namespace elastron::train {

namespace {

const std::string kRemedy = "the file is damaged; use another checkpoint";

std::string describe(const std::string& path) {
  const Hdf5File file = Hdf5File::open(path, false);
  check_format(file);
  const Checksums sealed = sealed_checksums(file);
  const auto datasets = sealed_datasets(file, sealed);
  compare_checksums(file, sealed, combine_digests(datasets, {own_digests(file, datasets, 0, 1)}));
  const CheckpointHeader header = read_header(file);
  std::string text = fmt::format(
      "{}\n  whole: yes (every checksum verified)\n  format version: {}\n  written by elastron {}\n"
      "  objective: {}\n  step: {}\n  tokens seen: {}\n  backbone: {}\n",
      path, file.integer_attribute("format_version"), file.text_attribute("elastron_version"),
      header.objective, header.step, header.tokens_seen, header.backbone_fingerprint);
  const std::pair<const char*, const NamedValues*> lists[] = {
      {"state", &header.state}, {"data", &header.data}, {"random", &header.random}};
  for (const auto& [title, values] : lists) {
    for (const auto& [key, value] : *values)
      text += fmt::format("  {} {}: {}\n", title, key, value);
  }
  int64_t elements = 0;
  size_t moments = 0;
  std::string tensors;
  const std::string prefix = "/params/";
  for (const Hdf5Dataset& d : datasets) {
    if (d.path.starts_with("/optimizer/")) ++moments;
    if (!d.path.starts_with(prefix)) continue;
    elements += d.shape.numel();
    tensors += fmt::format("    {} {} {} {}\n", sealed.at(d.path), d.path.substr(prefix.size()),
                           dtype_name(d.dtype), d.shape.str());
  }
  return text + fmt::format("  optimiser tensors: {}\n  parameters: {}\n", moments, elements) +
         tensors;
}

}  // namespace

std::string inspect_checkpoint(const std::string& path) {
  return read_in_child(path, ExitCode::checkpoint, kRemedy, [&] { return describe(path); });
}

void probe_checkpoint(const std::string& path) {
  read_in_child(path, ExitCode::checkpoint, kRemedy, [&] {
    const Hdf5File file = Hdf5File::open(path, false);
    check_format(file);
    sealed_datasets(file, sealed_checksums(file));
    return std::string();
  });
}

}  // namespace elastron::train

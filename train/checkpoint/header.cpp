#include "train/checkpoint/header.h"

#include <algorithm>
#include <filesystem>

#include "core/error.h"
#include "core/file/checksum.h"
#include "core/json.h"
#include "train/checkpoint/folder.h"

namespace elastron::train {

namespace {

constexpr const char* kFormat = "elastron-checkpoint";
constexpr const char* kConfig = "/config";
constexpr const char* kRun = "/run/id";
constexpr const char* kState = "/objective/state";
constexpr const char* kData = "/data/cursor";
constexpr const char* kRandom = "/rng/state";

std::string values_text(const NamedValues& values) { return nlohmann::json(values).dump(); }

NamedValues read_values(const Hdf5File& file, const std::string& dataset) {
  const auto refuse = [&]() -> CheckpointError {
    return {"not a list of values", file.path() + dataset, "use another checkpoint"};
  };
  nlohmann::json object;
  try {
    object = parse_json_strict(file.read_text(dataset), dataset);
  } catch (const InputError&) {
    throw refuse();
  }
  if (!object.is_object()) throw refuse();
  NamedValues values;
  for (const auto& [key, value] : object.items()) {
    if (!value.is_string()) throw refuse();
    values[key] = value.get<std::string>();
  }
  return values;
}

}  // namespace

// Files of version 0.1 have none, and imported ones.
std::string read_run(const Hdf5File& file) {
  const auto datasets = file.list("/");
  if (std::ranges::find(datasets, kRun) == datasets.end()) return {};
  std::string run = file.read_text(kRun);
  if (!is_run_id(run)) {
    throw CheckpointError("not the id of a run", file.path() + kRun, "use another checkpoint");
  }
  return run;
}

bool is_run_id(std::string_view text) {
  constexpr size_t kLongest = 64;
  return !text.empty() && text.size() <= kLongest &&
         text.find_first_not_of(
             "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-") == text.npos;
}

std::map<std::string, std::string> header_texts(const CheckpointHeader& header) {
  std::map<std::string, std::string> texts = {{kConfig, header.config},
                                              {kState, values_text(header.state)},
                                              {kData, values_text(header.data)},
                                              {kRandom, values_text(header.random)}};
  if (!header.run.empty()) texts[kRun] = header.run;
  return texts;
}

void write_attributes(Hdf5File& file, const CheckpointHeader& header) {
  file.set_attribute("format", kFormat);
  file.set_attribute("format_version", kCheckpointFormatVersion);
  file.set_attribute("elastron_version", ELASTRON_VERSION);
  file.set_attribute("step", header.step);
  file.set_attribute("tokens_seen", header.tokens_seen);
  file.set_attribute("objective", header.objective);
  file.set_attribute("backbone_fingerprint", header.backbone_fingerprint);
}

std::string attributes_checksum(const Hdf5File& file) {
  Checksum sum;
  for (const char* name : {"format", "elastron_version", "objective", "backbone_fingerprint"}) {
    sum.add(name);
    sum.add(file.text_attribute(name));
  }
  for (const char* name : {"format_version", "step", "tokens_seen"}) {
    sum.add(name);
    sum.add(file.integer_attribute(name));
  }
  return sum.digest();
}

void check_format(const Hdf5File& file) {
  if (file.text_attribute("format") != kFormat) {
    throw CheckpointError("not an elastron checkpoint", file.path(), "name a checkpoint file");
  }
  const int64_t version = file.integer_attribute("format_version");
  if (version != kCheckpointFormatVersion) {
    throw CheckpointError("format version " + std::to_string(version) + " is not supported",
                          file.path(), "use the elastron that wrote it");
  }
}

CheckpointHeader read_header(const Hdf5File& file) {
  const int64_t named = step_of(std::filesystem::path(file.path()).filename().string());
  const int64_t step = file.integer_attribute("step");
  if (named >= 0 && named != step) {
    throw CheckpointError("the file's name says step " + std::to_string(named) +
                              ", it holds step " + std::to_string(step),
                          file.path(), "give it its name again, " + checkpoint_name(step));
  }
  return {.step = step,
          .tokens_seen = file.integer_attribute("tokens_seen"),
          .objective = file.text_attribute("objective"),
          .backbone_fingerprint = file.text_attribute("backbone_fingerprint"),
          .config = file.read_text(kConfig),
          .run = read_run(file),
          .state = read_values(file, kState),
          .data = read_values(file, kData),
          .random = read_values(file, kRandom)};
}

void require_objective(const CheckpointHeader& header, std::string_view objective,
                       const std::string& path, const std::string& todo) {
  if (header.objective == objective) return;
  throw CheckpointError(
      "the checkpoint's objective is " + header.objective + ", not " + std::string(objective), path,
      todo);
}

void require_backbone(const CheckpointHeader& header, const std::string& fingerprint,
                      const std::string& path) {
  if (header.backbone_fingerprint == fingerprint) return;
  throw CheckpointError(
      "the checkpoint belongs to another backbone", path,
      "set model.path and model.rope_scaling to the backbone and the positions it was "
      "trained on");
}

}  // namespace elastron::train

#include "train/checkpoint/header.h"

#include "core/error.h"
#include "core/file/checksum.h"
#include "core/json.h"

namespace elastron::train {

namespace {

constexpr const char* kFormat = "elastron-checkpoint";
constexpr const char* kConfig = "/config";
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

std::map<std::string, std::string> header_texts(const CheckpointHeader& header) {
  return {{kConfig, header.config},
          {kState, values_text(header.state)},
          {kData, values_text(header.data)},
          {kRandom, values_text(header.random)}};
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
  return {.step = file.integer_attribute("step"),
          .tokens_seen = file.integer_attribute("tokens_seen"),
          .objective = file.text_attribute("objective"),
          .backbone_fingerprint = file.text_attribute("backbone_fingerprint"),
          .config = file.read_text(kConfig),
          .state = read_values(file, kState),
          .data = read_values(file, kData),
          .random = read_values(file, kRandom)};
}

}  // namespace elastron::train

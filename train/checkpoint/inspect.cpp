#include "train/checkpoint/inspect.h"

#include <fmt/format.h>

#include <cstdlib>
#include <optional>

#include "core/error.h"
#include "core/file/child_process.h"
#include "core/json.h"
#include "data/source.h"
#include "train/checkpoint/integrity.h"
#include "train/config.h"

namespace elastron::train {

namespace {

using Json = nlohmann::ordered_json;

const std::string kRemedy = "the file is damaged; use another checkpoint";

struct Contents {
  std::string path, version;
  int64_t format_version = 0;
  CheckpointHeader header;
  Checksums checksums;
  std::vector<Hdf5Dataset> parameters;
  int64_t elements = 0, optimizer_tensors = 0;
  // Nothing where this version of the program cannot read it.
  std::optional<Config> config;
};

Contents read_contents(const std::string& path) {
  const Hdf5File file = Hdf5File::open(path, false);
  check_format(file);
  Contents c{.path = path,
             .version = file.text_attribute("elastron_version"),
             .format_version = file.integer_attribute("format_version"),
             .checksums = sealed_checksums(file)};
  const auto datasets = sealed_datasets(file, c.checksums);
  compare_checksums(file, c.checksums,
                    combine_digests(datasets, {own_digests(file, datasets, 0, 1)}));
  c.header = read_header(file);
  for (const Hdf5Dataset& d : datasets) {
    if (d.path.starts_with("/optimizer/")) ++c.optimizer_tensors;
    if (!d.path.starts_with("/params/")) continue;
    c.elements += d.shape.numel();
    c.parameters.push_back(d);
  }
  try {
    c.config = config::parse_config<Config>(c.header.config, path);
  } catch (const Error&) {
    c.config.reset();
  }
  return c;
}

std::string name_of(const Hdf5Dataset& parameter) {
  return parameter.path.substr(std::string("/params/").size());
}

// Loss and step of the best evaluation. Without one a checkpoint says inf and -1.
std::optional<std::pair<double, int64_t>> best_of(const NamedValues& state) {
  const auto loss = state.find("best_eval_loss"), step = state.find("best_step");
  if (loss == state.end() || step == state.end()) return {};
  const int64_t at = std::strtoll(step->second.c_str(), nullptr, 10);
  if (at < 0) return {};
  return std::pair(std::strtod(loss->second.c_str(), nullptr), at);
}

bool is_of_best(const std::string& key) { return key == "best_eval_loss" || key == "best_step"; }

// Packs of data that is made on the fly.
bool is_endless(const std::string& key, const std::string& value) {
  return key == "packs" && value == std::to_string(data::PackSource::kUnlimited);
}

std::string text_of(const Contents& c, bool whole_config) {
  const CheckpointHeader& h = c.header;
  std::string text = fmt::format(
      "{}\n  whole: yes (every checksum verified)\n  format version: {}\n  written by elastron {}\n"
      "  run: {}\n  objective: {}\n  step: {}\n  tokens seen: {}\n  backbone: {}\n",
      c.path, c.format_version, c.version, h.run.empty() ? "of no known run" : h.run, h.objective,
      h.step, h.tokens_seen, h.backbone_fingerprint);
  const auto best = best_of(h.state);
  text += best ? fmt::format("  best evaluation: loss {} at step {}\n", best->first, best->second)
               : std::string("  best evaluation: none yet\n");
  for (const auto& [key, value] : h.state) {
    if (!is_of_best(key)) text += fmt::format("  state {}: {}\n", key, value);
  }
  if (h.data.empty()) text += "  data: from the start\n";
  for (const auto& [key, value] : h.data) {
    text += fmt::format("  data {}: {}\n", key, is_endless(key, value) ? "without end" : value);
  }
  for (const auto& [key, value] : h.random) text += fmt::format("  random {}: {}\n", key, value);
  if (whole_config) {
    text += "  config:\n";
    for (size_t at = 0; at < h.config.size();) {
      const size_t end = std::min(h.config.find('\n', at), h.config.size());
      text += "    " + h.config.substr(at, end - at) + "\n";
      at = end + 1;
    }
  } else if (!c.config) {
    text += "  config: not of this version of elastron (--config shows it)\n";
  } else {
    text += "  config, where it is not the default (--config shows all of it):\n";
    for (const auto& d : config::config_differences(Config{}, *c.config)) {
      text += fmt::format("    {}: {}\n", d.key, d.after);
    }
  }
  text +=
      fmt::format("  optimiser tensors: {}\n  parameters: {}\n", c.optimizer_tensors, c.elements);
  for (const Hdf5Dataset& d : c.parameters) {
    text += fmt::format("    {} {} {} {}\n", c.checksums.at(d.path), name_of(d),
                        dtype_name(d.dtype), d.shape.str());
  }
  return text;
}

// A value as the configuration writes it: a number, true, false, a list, a map or a text.
Json json_of(const config::Node& node) {
  using Kind = config::Node::Kind;
  if (node.kind == Kind::null) return nullptr;
  if (node.kind == Kind::sequence) {
    Json list = Json::array();
    for (const auto& item : node.items) list.push_back(json_of(item));
    return list;
  }
  if (node.kind == Kind::map) {
    Json object = Json::object();
    for (const auto& [key, value] : node.entries) object[key] = json_of(value);
    return object;
  }
  if (node.quoted) return node.text;
  const Json value = Json::parse(node.text, nullptr, false);
  return value.is_number() || value.is_boolean() ? value : Json(node.text);
}

Json config_json(const Config& config) {
  Config copy = config;
  Json object = Json::object();
  for (const config::Leaf& leaf : config::table_of(copy).leaves) {
    config::Problems none;
    object[leaf.key] = json_of(config::parse_yaml_value(leaf.write(), leaf.key, none));
  }
  return object;
}

// A number, where the text is one.
Json values_json(const NamedValues& values) {
  Json object = Json::object();
  for (const auto& [key, value] : values) {
    if (is_of_best(key)) continue;
    const Json number = Json::parse(value, nullptr, false);
    object[key] = is_endless(key, value) ? Json() : number.is_number() ? number : Json(value);
  }
  return object;
}

std::string json_text(const Contents& c) {
  const CheckpointHeader& h = c.header;
  const auto best = best_of(h.state);
  Json tensors = Json::array();
  for (const Hdf5Dataset& d : c.parameters) {
    const auto extents = d.shape.extents();
    tensors.push_back({{"name", name_of(d)},
                       {"dtype", dtype_name(d.dtype)},
                       {"shape", std::vector<int64_t>(extents.begin(), extents.end())},
                       {"xxh3_128", c.checksums.at(d.path)}});
  }
  const Json object = {
      {"path", c.path},
      {"format_version", c.format_version},
      {"elastron_version", c.version},
      {"run", h.run.empty() ? Json() : Json(h.run)},
      {"objective", h.objective},
      {"step", h.step},
      {"tokens_seen", h.tokens_seen},
      {"backbone_fingerprint", h.backbone_fingerprint},
      {"best", best ? Json{{"loss", best->first}, {"step", best->second}} : Json()},
      {"state", values_json(h.state)},
      {"data", h.data.empty() ? Json() : values_json(h.data)},
      {"random", values_json(h.random)},
      {"config", c.config ? config_json(*c.config) : Json()},
      {"optimizer_tensors", c.optimizer_tensors},
      {"parameters", c.elements},
      {"tensors", tensors}};
  return object.dump(2, ' ', false, Json::error_handler_t::replace) + "\n";
}

}  // namespace

std::string inspect_checkpoint(const std::string& path, const InspectOptions& options) {
  return read_in_child(path, ExitCode::checkpoint, kRemedy, [&] {
    const Contents contents = read_contents(path);
    return options.json ? json_text(contents) : text_of(contents, options.config);
  });
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

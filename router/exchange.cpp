#include "router/exchange.h"

#include <nlohmann/json.hpp>
#include <set>

#include "core/misfits.h"
#include "ops/elementwise.h"
#include "router/static_mask.h"
#include "router/stored_tensors.h"

namespace elastron::router {

namespace {

constexpr const char* kFormat = "elastron-router";
constexpr int64_t kFormatVersion = 1;

// Numbers and truth values as such, other scalars as text. A plain `none` is left out: it is the
// default of every key that may be none.
nlohmann::ordered_json to_json(const config::Node& node) {
  using Kind = config::Node::Kind;
  nlohmann::ordered_json out;
  if (node.kind == Kind::map) {
    out = nlohmann::ordered_json::object();
    for (const auto& [key, value] : node.entries) {
      if (!value.plain("none")) out[key] = to_json(value);
    }
  } else if (node.kind == Kind::sequence) {
    out = nlohmann::ordered_json::array();
    for (const config::Node& item : node.items) out.push_back(to_json(item));
  } else {
    const auto value = nlohmann::ordered_json::parse(node.text, nullptr, /*exceptions=*/false);
    const bool word = node.quoted || !(value.is_number() || value.is_boolean());
    out = word ? nlohmann::ordered_json(node.text) : value;
  }
  return out;
}

const nlohmann::json& member(const nlohmann::json& object, const char* key,
                             const std::string& where) {
  if (!object.is_object() || !object.contains(key)) {
    throw InputError(std::string("'") + key + "' is missing", where, "use an exported router");
  }
  return object[key];
}

}  // namespace

int64_t StoredRouter::layers() const {
  const char* leaf = config.kind == Kind::static_l0 ? StaticMask::kLeaf : "task.0.weight";
  int64_t count = 0;
  while (tensors.contains(logical_naming().stored(count, leaf))) ++count;
  return count;
}

bool StoredRouter::has_multipliers() const { return tensors.contains(logical_naming().lambda1); }

void fill_parameters(const StoredRouter& router, const std::string& where,
                     const ParameterList& parameters) {
  Misfits misfits;
  std::set<std::string> wanted;
  for (const Parameter* p : parameters) {
    wanted.insert(p->name);
    const auto it = router.tensors.find(p->name);
    if (it == router.tensors.end()) {
      misfits.of("missing").push_back(p->name);
    } else if (!(it->second.shape() == p->logical_shape)) {
      misfits.of("misshapen")
          .push_back(p->name + " is " + it->second.shape().str() + " in place of " +
                     p->logical_shape.str());
    }
  }
  for (const auto& [name, tensor] : router.tensors) {
    if (!wanted.contains(name) && logical_naming().place(name)) {
      misfits.of("unexpected").push_back(name);
    }
  }
  misfits.throw_if_any("the router does not fit the model", where,
                       "use the model it was trained for");
  for (Parameter* p : parameters) {
    Tensor stored = router.tensors.at(p->name);
    const Partition& part = p->partition;
    if (!part.replicated()) stored = stored.slice(part.dim, part.offset, part.offset + part.size);
    ops::cast_into(stored, p->value);
    if (p->master.defined() && p->master.raw() != p->value.raw()) {
      ops::cast_into(stored, p->master);
    }
  }
}

nlohmann::ordered_json settings_json(const StoredRouter& router) {
  config::Problems problems;
  const auto tree = config::parse_yaml(config::dump_config(router.config), "router", problems);
  problems.raise();
  nlohmann::ordered_json settings = {{"format", kFormat}, {"format_version", kFormatVersion}};
  if (!router.backbone_fingerprint.empty()) {
    settings["backbone_fingerprint"] = router.backbone_fingerprint;
  }
  if (!router.rope_scaling.empty()) {
    settings["rope_scaling"] =
        to_json(config::parse_yaml_value(router.rope_scaling, "router", problems));
    problems.raise();
  }
  settings["router"] = to_json(tree);
  settings["router"].erase("force");
  return settings;
}

StoredRouter read_settings(const nlohmann::json& object, const std::string& where) {
  if (member(object, "format", where) != kFormat) {
    throw InputError("not the settings of a router", where, "use an exported router");
  }
  if (member(object, "format_version", where) != kFormatVersion) {
    throw InputError("the format version is not supported", where,
                     "use the elastron that wrote it");
  }
  StoredRouter router;
  if (object.contains("backbone_fingerprint")) {
    if (!object["backbone_fingerprint"].is_string()) {
      throw InputError("'backbone_fingerprint' is not a text", where, "remove it");
    }
    router.backbone_fingerprint = object["backbone_fingerprint"].get<std::string>();
  }
  if (object.contains("rope_scaling")) {
    const auto& rope = object["rope_scaling"];
    if (!rope.is_object() && rope != "none") {
      throw InputError("'rope_scaling' is neither an object nor none", where, "correct it");
    }
    // JSON is YAML.
    router.rope_scaling = rope.is_object() ? rope.dump() : "none";
  }
  try {
    router.config =
        config::parse_config<RouterConfig>(member(object, "router", where).dump(), where);
  } catch (const UsageError& error) {
    throw Error(ExitCode::input, error.what());
  }
  router.config.force = RouterConfig{}.force;
  return router;
}

StoredRouter from_logical(const TensorHomes& homes, StoredRouter settings, int64_t tasks,
                          const std::string& where, Device& device) {
  const RouterConfig said = settings.config;
  read_stored_tensors(homes, logical_naming(), tasks, where, settings, device);
  if (!same_network(said, settings.config)) {
    throw InputError("the settings' router.kind or widths are not those of the tensors", where,
                     "use settings and tensors of one export");
  }
  return settings;
}

}  // namespace elastron::router

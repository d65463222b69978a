#include "model/weights/rope_override.h"

#include "core/error.h"

namespace elastron::model {

std::string rope_override_text(const RopeOverride& rope) {
  return config::Value<RopeOverride>::write(rope);
}

RopeOverride parse_rope_override(const std::string& text, const std::string& where) {
  config::Problems problems;
  const config::Node node = config::parse_yaml_value(text, where, problems);
  RopeOverride rope;
  const auto bad = problems.empty() ? config::Value<RopeOverride>::read(node, {}, rope)
                                    : config::mismatch(node, "a map");
  if (!bad) return rope;
  throw InputError("the rope scaling" + bad->element + " is " + bad->got, where,
                   "write " + bad->expected);
}

}  // namespace elastron::model

namespace elastron::config {

namespace {

using Setting = Value<model::RopeOverride>;
using Scalar = model::RopeOverride::Scalar;

// A number, true, false, or a text.
std::optional<Scalar> read_scalar(const Node& n) {
  if (n.kind != Node::Kind::scalar) return {};
  if (n.plain("true") || n.plain("false")) return n.plain("true");
  double number = 0;
  if (!read_number(n, {}, number)) return number;
  return n.text;
}

std::string write_scalar(const Scalar& value) {
  if (const bool* truth = std::get_if<bool>(&value)) return *truth ? "true" : "false";
  if (const double* number = std::get_if<double>(&value)) return write_number(*number);
  return yaml_text(std::get<std::string>(value));
}

}  // namespace

Read Setting::read(const Node& n, const Rule& rule, model::RopeOverride& out) {
  if (n.plain("auto") || n.plain("none")) {
    out = n.plain("none") ? model::RopeOverride::none() : model::RopeOverride{};
    return {};
  }
  if (n.kind != Node::Kind::map) return mismatch(n, describe(rule));
  model::RopeOverride values = model::RopeOverride::none();
  for (const auto& [name, node] : n.entries) {
    if (auto bad = read_entry(name, node, rule, values)) return bad;
  }
  out = std::move(values);
  return {};
}

Read Setting::read_entry(const std::string& name, const Node& n, const Rule&,
                         model::RopeOverride& out) {
  if (!valid_name(name)) return Mismatch{in_quotes(name), "a short printable name", "", n.line};
  const auto value = read_scalar(n);
  if (!value) {
    Mismatch bad = mismatch(n, "a number, true, false or a text");
    bad.element = "." + name;
    return bad;
  }
  if (!out.keys) out.keys.emplace();
  out.keys->insert_or_assign(name, *value);
  return {};
}

std::string Setting::write(const model::RopeOverride& v) {
  if (!v.keys) return "auto";
  std::string text;
  for (const auto& [name, value] : *v.keys) {
    text += (text.empty() ? "" : ", ") + yaml_text(name) + ": " + write_scalar(value);
  }
  return text.empty() ? "none" : "{" + text + "}";
}

std::string Setting::describe(const Rule&) {
  return "auto, none or a map such as {rope_type: yarn, factor: 2.0, "
         "original_max_position_embeddings: 32768}";
}

}  // namespace elastron::config

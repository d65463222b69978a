// Typed configuration from one field table per struct. Reading, overrides, suggestions, the
// reference file and the resolved dump all come from it.
//
//   struct SsaConfig { int64_t sink = 128; int64_t local = 2048; };          // plain, with
//   defaults struct RouterConfig { SsaConfig ssa; Mode mode = Mode::fa_ssa; std::optional<double>
//   clamp; };
//
//   namespace elastron::config {                                             // beside the struct
//   template <> struct EnumNames<Mode> {
//     static constexpr NameOf<Mode> names[] = {{Mode::fa_ssa, "fa-ssa"}, {Mode::fa_xa, "fa-xa"}};
//   };
//   template <> struct Schema<SsaConfig> {
//     static constexpr auto fields = std::tuple{
//         field("sink", &SsaConfig::sink, at_least(0), "tokens at the start that sparse heads
//         see"), field("local", &SsaConfig::local, at_least(1), "most recent tokens they see")};
//   };
//   template <> struct Schema<RouterConfig> {
//     static constexpr auto fields = std::tuple{
//         section("ssa", &RouterConfig::ssa, "streaming sparse attention"),
//         field("mode", &RouterConfig::mode, "the two modes a head chooses from"),
//         field("clamp", &RouterConfig::clamp, greater_than(0), "bound of the multipliers")};
//     static void check(const RouterConfig& c, Problems& problems) {           // optional
//       if (c.ssa.local < c.ssa.sink)
//         problems.add("ssa.local", "the local window is shorter than the sink", "raise it");
//     }
//   };
//   }
//
//   const auto config = config::load_config<RouterConfig>(files, overrides);  // throws UsageError
//
// Types: bool, int32_t, int64_t, double, std::string, enums, std::optional<T> (`none` or T),
// Auto<T> (`auto` or T), std::vector<T>, std::map<std::string, T>. Rules: at_least, greater_than,
// at_most, less_than, between, multiple_of, not_empty, choice; && joins them.
//
// YAML files merge left to right, then the overrides in order; the last one wins. A list or map
// replaces the value before it; `--set map.name=value` changes one entry.
#pragma once
#include <span>
#include <string>
#include <string_view>
#include <tuple>
#include <vector>

#include "core/config/table.h"

namespace elastron::config {

template <class T>
struct Schema;

template <class Owner, class Member>
struct Field {
  std::string_view key;
  Member Owner::*member;
  Rule rule;
  std::string_view doc;
};

// `doc` says what the value does, and its unit, in a phrase.
template <class Owner, class Member>
constexpr auto field(std::string_view key, Member Owner::*member, std::string_view doc) {
  return Field<Owner, Member>{key, member, Rule{}, doc};
}
template <class Owner, class Member>
constexpr auto field(std::string_view key, Member Owner::*member, Rule rule, std::string_view doc) {
  return Field<Owner, Member>{key, member, rule, doc};
}

template <class Owner, class Member>
struct SectionField {
  std::string_view key;
  Member Owner::*member;
  std::string_view doc;
};
// A nested struct that has a Schema of its own.
template <class Owner, class Member>
constexpr auto section(std::string_view key, Member Owner::*member, std::string_view doc) {
  return SectionField<Owner, Member>{key, member, doc};
}

namespace detail {

template <class T>
void add_to_table(Table& table, T& object, const std::string& key, std::string_view doc);

template <class T, class Owner, class Member>
void add_member(Table& table, T& object, const std::string& prefix,
                const SectionField<Owner, Member>& s) {
  add_to_table(table, object.*s.member, prefix + std::string(s.key), s.doc);
}

template <class T, class Owner, class Member>
void add_member(Table& table, T& object, const std::string& prefix, const Field<Owner, Member>& f) {
  Member& value = object.*f.member;
  const Rule rule = f.rule;
  Leaf leaf{.key = prefix + std::string(f.key),
            .doc = std::string(f.doc),
            .type = Value<Member>::describe(rule),
            .read = [&value, rule](const Node& n) { return Value<Member>::read(n, rule, value); },
            .write = [&value] { return Value<Member>::write(value); },
            .read_entry = {}};
  if constexpr (is_map_v<Member>) {
    leaf.read_entry = [&value, rule](const std::string& name, const Node& n) {
      return Value<Member>::read_entry(name, n, rule, value);
    };
  }
  table.leaves.push_back(std::move(leaf));
}

template <class T>
void add_to_table(Table& table, T& object, const std::string& key, std::string_view doc) {
  Section self{.key = key, .doc = std::string(doc), .check = {}};
  if constexpr (requires(Problems & p) { Schema<T>::check(object, p); }) {
    self.check = [&object](Problems& p) { Schema<T>::check(object, p); };
  }
  table.sections.push_back(std::move(self));
  const std::string prefix = key.empty() ? key : key + ".";
  std::apply([&](const auto&... member) { (add_member(table, object, prefix, member), ...); },
             Schema<T>::fields);
}

}  // namespace detail

// The table refers to `object`, which must outlive it.
template <class T>
Table table_of(T& object) {
  Table table;
  detail::add_to_table(table, object, "", "");
  return table;
}

// Defaults, then `files` left to right, then `overrides` ("a.b=value") in order. Throws one
// UsageError with a line for everything that is wrong.
template <class T>
T load_config(std::span<const std::string> files, std::span<const std::string> overrides,
              Origins* origins = nullptr) {
  T config{};
  const Table table = table_of(config);
  Origins local;
  Origins& known = origins != nullptr ? *origins : local;
  Problems problems;
  for (const std::string& file : files) {
    const std::string text = read_config_file(file, problems);
    apply_document(table, parse_yaml(text, file, problems), file, known, problems);
  }
  for (const std::string& assignment : overrides) {
    apply_override(table, assignment, known, problems);
  }
  run_checks(table, known, problems);
  problems.raise();
  return config;
}

// Defaults, then `text`. `source` names it in messages.
template <class T>
T parse_config(std::string_view text, const std::string& source, Origins* origins = nullptr) {
  T config{};
  const Table table = table_of(config);
  Origins local;
  Origins& known = origins != nullptr ? *origins : local;
  Problems problems;
  apply_document(table, parse_yaml(text, source, problems), source, known, problems);
  run_checks(table, known, problems);
  problems.raise();
  return config;
}

// All values as YAML; parse_config reads exactly the same configuration from it. With `origins`,
// each line ends in a comment that says where its value came from.
template <class T>
std::string dump_config(const T& config, const Origins* origins = nullptr) {
  T copy = config;
  return write_values(table_of(copy), origins);
}

// Every key with its documentation, type, range and default: configs/reference.yaml.
template <class T>
std::string reference_config() {
  T defaults{};
  return write_reference(table_of(defaults));
}

// The keys whose values differ, in the order of the table.
template <class T>
std::vector<Difference> config_differences(const T& before, const T& after) {
  T a = before;
  T b = after;
  return compare(table_of(a), table_of(b));
}

}  // namespace elastron::config

// Typed configuration from one field table per struct. Reading, overrides, suggestions, the
// reference file and the resolved dump all come from it.
//
//   // The header has plain structs with defaults, and includes load.h:
//   struct SsaConfig { int64_t sink = 128; int64_t local = 2048; };
//   struct RouterConfig { SsaConfig ssa; Mode mode = Mode::fa_ssa; std::optional<double> clamp; };
//
//   namespace elastron::config {
//   template <> struct EnumNames<Mode> {
//     static constexpr NameOf<Mode> names[] = {{Mode::fa_ssa, "fa-ssa"}, {Mode::fa_xa, "fa-xa"}};
//   };
//   extern template Table table_of(RouterConfig&);
//   }
//
//   // One .cpp has the tables, and includes this header:
//   namespace elastron::config {
//   template <> struct Schema<SsaConfig> {
//     static constexpr auto fields = std::tuple{
//         field("sink", &SsaConfig::sink, at_least(0), "tokens at the start that heads see"),
//         field("local", &SsaConfig::local, at_least(1), "most recent tokens they see")};
//   };
//   template <> struct Schema<RouterConfig> {
//     static constexpr auto fields = std::tuple{
//         section("ssa", &RouterConfig::ssa, "streaming sparse attention"),
//         field("mode", &RouterConfig::mode, "the two modes a head chooses from"),
//         field("clamp", &RouterConfig::clamp, greater_than(0), "bound of the multipliers")};
//     static void complete(RouterConfig& c, Unwritten& keys) {                 // optional
//       if (c.mode == Mode::fa_xa) keys.set("clamp", c.clamp, {2.0}, "mode fa-xa");
//     }
//     static void check(const RouterConfig& c, Problems& problems) {           // optional
//       if (c.ssa.local < c.ssa.sink)
//         problems.add("ssa.local", "the local window is shorter than the sink", "raise it");
//     }
//   };
//   template Table table_of(RouterConfig&);
//   }
//
//   const auto config = config::load_config<RouterConfig>(files, overrides);  // throws UsageError
//
// Types: bool, int32_t, int64_t, double, std::string, enums, std::optional<T> (`none` or T),
// Auto<T> (`auto` or T), std::vector<T>, std::map<std::string, T>. Rules: at_least, greater_than,
// at_most, less_than, between, not_empty, choice; && joins them.
//
// YAML files merge left to right, then the overrides in order; the last one wins. A list or map
// replaces the value before it; `--set map.name=value` changes one entry.
#pragma once
#include <string>
#include <string_view>
#include <tuple>
#include <utility>

#include "core/config/load.h"

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
  std::string_view short_for;
};
// A nested struct that has a Schema of its own. `short_for`: the key of it that a plain value in
// place of the section sets: with "kind", `device: cuda` is `device: {kind: cuda}`.
template <class Owner, class Member>
constexpr auto section(std::string_view key, Member Owner::*member, std::string_view doc,
                       std::string_view short_for = "") {
  return SectionField<Owner, Member>{key, member, doc, short_for};
}

namespace detail {

template <class Member>
Leaf leaf_of(std::string_view key, const Rule& rule, std::string_view doc, Member& value) {
  Leaf leaf{.key = std::string(key),
            .doc = std::string(doc),
            .type = Value<Member>::describe(rule),
            .read = [&value, rule](const Node& n) { return Value<Member>::read(n, rule, value); },
            .write = [&value] { return Value<Member>::write(value); },
            .read_entry = {}};
  if constexpr (is_map_v<Member>) {
    leaf.read_entry = [&value, rule](const std::string& name, const Node& n) {
      return Value<Member>::read_entry(name, n, rule, value);
    };
  }
  return leaf;
}

template <class Owner, class Member>
void add_member(Table& table, Owner& object, const SectionField<Owner, Member>& s) {
  append_section(table, s.key, s.doc, s.short_for, table_of(object.*s.member));
}

template <class Owner, class Member>
void add_member(Table& table, Owner& object, const Field<Owner, Member>& f) {
  table.leaves.push_back(leaf_of(f.key, f.rule, f.doc, object.*f.member));
}

}  // namespace detail

template <class T>
Table table_of(T& object) {
  Table table;
  Section self{.key = "", .doc = "", .check = {}, .complete = {}, .short_for = ""};
  if constexpr (requires(Problems & p) { Schema<T>::check(object, p); }) {
    self.check = [&object](Problems& p) { Schema<T>::check(object, p); };
  }
  if constexpr (requires(Unwritten & u) { Schema<T>::complete(object, u); }) {
    self.complete = [&object](Unwritten& u) { Schema<T>::complete(object, u); };
  }
  table.sections.push_back(std::move(self));
  std::apply([&](const auto&... member) { (detail::add_member(table, object, member), ...); },
             Schema<T>::fields);
  return table;
}

}  // namespace elastron::config

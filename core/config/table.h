// A configuration object seen as a flat table of keys, and everything that is done with it. Built
// from the Schema specialisations by schema.h; knows no configuration type.
#pragma once
#include <functional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "core/config/value.h"

namespace elastron::config {

// One key and the value it stands for. The functions refer to the object the table was made of.
struct Leaf {
  std::string key;  // "router.ssa.sink"
  std::string doc;
  std::string type;  // "an integer >= 0"
  std::function<Read(const Node&)> read;
  std::function<std::string()> write;  // YAML, one line
  // Maps only: sets one entry.
  std::function<Read(const std::string& name, const Node&)> read_entry;
};

// Keys that nobody wrote, neither in a file nor on the command line, whatever the order: a schema may
// give them another value than the table's default, in Schema<T>::complete(T&, Unwritten&).
class Unwritten {
 public:
  Unwritten(std::string prefix, Origins& origins) : prefix_(std::move(prefix)), origins_(origins) {}

  // `key` as in T's table.
  bool has(std::string_view key) const { return !origins_.knows(prefix_ + std::string(key)); }
  // Sets `member`, which is `key`, if nobody wrote it; `source` says why, as an origin does.
  template <class Value>
  void set(std::string_view key, Value& member, const Value& value, const std::string& source) {
    if (!has(key) || member == value) return;
    member = value;
    origins_.set(prefix_ + std::string(key), source);
  }

 private:
  std::string prefix_;
  Origins& origins_;
};

struct Section {
  std::string key;  // "router.ssa"
  std::string doc;
  std::function<void(Problems&)> check;      // empty when the schema has none
  std::function<void(Unwritten&)> complete;  // likewise
  std::string short_for;  // the leaf that a plain value in its place sets; empty: none
};

struct Table {
  std::vector<Leaf> leaves;       // in the order of the schemas
  std::vector<Section> sections;  // outer before inner; the first is the whole ("")

  // In table.cpp, so that users of a table compile none of it.
  Table();
  Table(Table&&) noexcept;
  ~Table();
};

// Makes the table of a nested struct a section of `table`: its keys follow "key.".
void append_section(Table& table, std::string_view key, std::string_view doc,
                    std::string_view short_for, Table part);

struct Difference {
  std::string key, before, after;
};

// load_config and parse_config (load.h) do this with the object that the table refers to.
void load_into(const Table& table, std::span<const std::string> files,
               std::span<const std::string> overrides, Origins* origins);
void parse_into(const Table& table, std::string_view text, const std::string& source,
                Origins* origins);

// Reads one document (a map) into the object, and notes where each value came from.
void apply_document(const Table& table, const Node& document, const std::string& source,
                    Origins& origins, Problems& problems);
// `assignment` is "a.b=value".
void apply_override(const Table& table, const std::string& assignment, Origins& origins,
                    Problems& problems);
// Gives keys that nobody wrote what the schemas make of the others. Sections as below.
void complete_values(const Table& table, Origins& origins, const Problems& problems);
// The schemas' own checks. A section in which something could not be read is passed over.
void run_checks(const Table& table, const Origins& origins, Problems& problems);

// YAML of all values. With `origins`, each line says where its value came from.
std::string write_values(const Table& table, const Origins* origins);
// YAML of all values with documentation.
std::string write_reference(const Table& table);
std::vector<Difference> compare(const Table& before, const Table& after);

// The whole file (at most one byte over kMaxYamlBytes). Empty, with a problem, if unreadable.
std::string read_config_file(const std::string& path, Problems& problems);

}  // namespace elastron::config

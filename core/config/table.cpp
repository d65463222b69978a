#include "core/config/table.h"

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <memory>
#include <unordered_map>

#include "core/config/suggest.h"
#include "core/error.h"
#include "core/file/path_hint.h"

namespace elastron::config {
namespace {

// Finds keys, and says what was meant by one that does not exist.
class Index {
 public:
  explicit Index(const Table& table) : table_(table) {
    for (const Leaf& leaf : table.leaves) {
      const bool added = leaves_.emplace(leaf.key, &leaf).second;
      ELASTRON_CHECK(added, "the schema has two keys " + leaf.key);
      known_.push_back(leaf.key);
    }
    for (const Section& section : table.sections) {
      if (!section.key.empty()) known_.push_back(section.key);
    }
  }

  const Leaf* leaf(const std::string& key) const {
    const auto it = leaves_.find(key);
    return it == leaves_.end() ? nullptr : it->second;
  }
  bool is_section(const std::string& key) const { return section(key) != nullptr; }
  // The leaf that a plain value in place of the section `key` sets, if there is one.
  const Leaf* short_for(const std::string& key) const {
    const Section* found = section(key);
    return found == nullptr || found->short_for.empty() ? nullptr : leaf(found->short_for);
  }

  void report_unknown(const std::string& key, const std::string& where, Problems& problems) const {
    if (problems.enough()) return problems.add_at(where, key, "unknown key", "remove it");
    const std::string meant = nearest(key, known_);
    std::string todo;
    if (!meant.empty() && meant != key) {
      todo = "did you mean '" + meant + "'?";
    } else {
      const size_t dot = key.rfind('.');
      const std::string section = dot == key.npos ? "" : key.substr(0, dot);
      todo = "known here: " + names_in(is_section(section) ? section : "");
    }
    problems.add_at(where, key, "unknown key " + in_quotes(key), todo);
  }

 private:
  const Section* section(const std::string& key) const {
    const auto it = std::ranges::find(table_.sections, key, &Section::key);
    return it == table_.sections.end() ? nullptr : &*it;
  }

  std::string names_in(const std::string& section) const {
    const std::string prefix = section.empty() ? "" : section + ".";
    std::string names;
    for (const std::string& key : known_) {
      if (!key.starts_with(prefix) || key.find('.', prefix.size()) != key.npos) continue;
      names += (names.empty() ? "" : ", ") + key.substr(prefix.size());
    }
    return names;
  }

  const Table& table_;
  std::unordered_map<std::string, const Leaf*> leaves_;
  std::vector<std::string> known_;
};

void report(const Mismatch& bad, const std::string& key, const std::string& where,
            Problems& problems) {
  problems.add_at(where, key, in_quotes(key + bad.element) + " is " + bad.got,
                  "write " + bad.expected);
}

class DocumentReader {
 public:
  DocumentReader(const Index& index, const std::string& source, Origins& origins,
                 Problems& problems)
      : index_(index), source_(source), origins_(origins), problems_(problems) {}

  void read_section(const Node& node, const std::string& prefix) {
    for (const auto& [name, value] : node.entries) {
      const std::string key = prefix + name;
      if (name.find('.') != name.npos && (index_.leaf(key) != nullptr || index_.is_section(key))) {
        problems_.add_at(where(value.line), key, "unknown key " + in_quotes(key) + " with a dot",
                         "write one level below the other: 'section:', then 'key: value' indented");
      } else if (const Leaf* leaf = index_.leaf(key)) {
        read_leaf(*leaf, value);
      } else if (!index_.is_section(key) || name.empty()) {
        index_.report_unknown(key, where(value.line), problems_);
      } else if (value.kind == Node::Kind::map) {
        read_section(value, key + ".");
      } else if (const Leaf* meant = index_.short_for(key);
                 meant != nullptr && value.kind == Node::Kind::scalar) {
        read_leaf(*meant, value);
      } else if (value.kind != Node::Kind::null) {
        problems_.add_at(where(value.line), key, in_quotes(key) + " is a section",
                         "write its keys below it, indented");
      }
    }
  }

 private:
  std::string where(int line) const { return source_ + ":" + std::to_string(line); }

  void read_leaf(const Leaf& leaf, const Node& value) {
    if (const auto bad = leaf.read(value)) {
      report(*bad, leaf.key, where(bad->line), problems_);
    } else {
      origins_.set(leaf.key, where(value.line));
    }
  }

  const Index& index_;
  const std::string& source_;
  Origins& origins_;
  Problems& problems_;
};

// Lines of a YAML file in which `path` is open; writes the section headers on the way.
class Writer {
 public:
  // `before_section` may write comments, at the given indentation.
  template <class F>
  std::string enter(const std::string& key, F&& before_section) {
    std::string out;
    size_t begin = 0;
    size_t level = 0;
    for (size_t dot = key.find('.'); dot != key.npos; dot = key.find('.', begin), ++level) {
      const std::string part = key.substr(begin, dot - begin);
      begin = dot + 1;
      if (level < open_.size() && open_[level] == part) continue;
      open_.resize(level);
      open_.push_back(part);
      out += before_section(key.substr(0, dot), level);
      out += indent(level) + part + ":\n";
    }
    open_.resize(level);
    name_ = key.substr(begin);
    return out;
  }
  static std::string indent(size_t level) { return std::string(2 * level, ' '); }
  size_t level() const { return open_.size(); }
  const std::string& name() const { return name_; }

 private:
  std::vector<std::string> open_;
  std::string name_;
};

// Comment lines of at most 100 columns.
std::string comment(const std::string& text, size_t level) {
  const std::string start = Writer::indent(level) + "#";
  std::string out;
  std::string line = start;
  size_t begin = 0;
  while (begin < text.size()) {
    const size_t end = std::min(text.find(' ', begin), text.size());
    const std::string word = text.substr(begin, end - begin);
    begin = end + 1;
    if (line.size() + 1 + word.size() > 100 && line != start) {
      out += line + "\n";
      line = start;
    }
    line += " " + word;
  }
  return out + line + "\n";
}

}  // namespace

void apply_document(const Table& table, const Node& document, const std::string& source,
                    Origins& origins, Problems& problems) {
  const Index index(table);
  DocumentReader(index, source, origins, problems).read_section(document, "");
}

void apply_override(const Table& table, const std::string& assignment, Origins& origins,
                    Problems& problems) {
  const Index index(table);
  const std::string where = "--set " + assignment;
  const size_t equals = assignment.find('=');
  if (equals == assignment.npos) {
    problems.add_at(where, "", "an override without '='", "write --set key=value");
    return;
  }
  const std::string key = assignment.substr(0, equals);
  Problems syntax;
  const Node value = parse_yaml_value(assignment.substr(equals + 1), where, syntax);
  if (!syntax.empty()) {
    problems.append(syntax);
    return;
  }
  const Leaf* meant = index.leaf(key);
  if (meant == nullptr && value.kind == Node::Kind::scalar) meant = index.short_for(key);
  if (meant != nullptr) {
    if (const auto bad = meant->read(value)) {
      report(*bad, meant->key, where, problems);
    } else {
      origins.set(meant->key, where);
    }
    return;
  }
  if (!key.empty() && index.is_section(key)) {
    problems.add_at(where, key, in_quotes(key) + " is a section",
                    "set one of its keys: --set " + key + ".NAME=VALUE");
    return;
  }
  // An entry of a map; the entry's name may itself have dots.
  for (size_t dot = key.find('.'); dot != key.npos; dot = key.find('.', dot + 1)) {
    const Leaf* leaf = index.leaf(key.substr(0, dot));
    if (leaf == nullptr || !leaf->read_entry) continue;
    if (const auto bad = leaf->read_entry(key.substr(dot + 1), value)) {
      report(*bad, leaf->key, where, problems);
    } else {
      origins.set(leaf->key, origins.of(leaf->key) + ", " + where);
    }
    return;
  }
  index.report_unknown(key, where, problems);
}

void complete_values(const Table& table, Origins& origins, const Problems& problems) {
  for (const Section& section : table.sections) {
    if (!section.complete || problems.touch(section.key)) continue;
    Unwritten unwritten(section.key.empty() ? "" : section.key + ".", origins);
    section.complete(unwritten);
  }
}

void run_checks(const Table& table, const Origins& origins, Problems& problems) {
  // Inner sections first: an outer rule may count on the inner ones.
  for (auto it = table.sections.rbegin(); it != table.sections.rend(); ++it) {
    if (!it->check || problems.touch(it->key)) continue;
    Problems found(it->key.empty() ? "" : it->key + ".", origins);
    it->check(found);
    problems.append(found);
  }
}

std::string write_values(const Table& table, const Origins* origins) {
  Writer writer;
  std::string out;
  for (const Leaf& leaf : table.leaves) {
    out += writer.enter(leaf.key, [](const std::string&, size_t) { return ""; });
    std::string line = Writer::indent(writer.level()) + writer.name() + ": " + leaf.write();
    if (origins != nullptr) {
      std::string origin = origins->of(leaf.key);
      std::ranges::replace_if(
          origin, [](unsigned char c) { return c < 0x20 || c == 0x7f; }, '?');
      line += "  # " + origin;
    }
    out += line + "\n";
  }
  return out;
}

std::string write_reference(const Table& table) {
  std::unordered_map<std::string, std::string> section_docs;
  for (const Section& section : table.sections) section_docs[section.key] = section.doc;
  Writer writer;
  std::string out = "# Every configuration key: what it does, what it may be, and its default.\n";
  for (const Leaf& leaf : table.leaves) {
    const size_t level_before = writer.level();
    const std::string headers =
        writer.enter(leaf.key, [&](const std::string& section, size_t level) {
          const std::string& doc = section_docs[section];
          return (level == 0 ? "\n" : "") + (doc.empty() ? "" : comment(doc, level));
        });
    if (headers.empty() && writer.level() == 0 && level_before > 0) out += "\n";
    out += headers;
    out += comment(leaf.doc + " (" + leaf.type + ")", writer.level());
    out += Writer::indent(writer.level()) + writer.name() + ": " + leaf.write() + "\n";
  }
  return out;
}

std::vector<Difference> compare(const Table& before, const Table& after) {
  ELASTRON_CHECK(before.leaves.size() == after.leaves.size(), "tables of different types");
  std::vector<Difference> differences;
  for (size_t i = 0; i < before.leaves.size(); ++i) {
    std::string a = before.leaves[i].write();
    std::string b = after.leaves[i].write();
    if (a != b) differences.push_back({before.leaves[i].key, std::move(a), std::move(b)});
  }
  return differences;
}

Table::Table() = default;
Table::Table(Table&&) noexcept = default;
Table::~Table() = default;

void append_section(Table& table, std::string_view key, std::string_view doc,
                    std::string_view short_for, Table part) {
  const std::string name(key);
  for (Leaf& leaf : part.leaves) {
    leaf.key = name + "." + leaf.key;
    table.leaves.push_back(std::move(leaf));
  }
  for (Section& section : part.sections) {
    const bool whole = section.key.empty();
    section.key = whole ? name : name + "." + section.key;
    if (!section.short_for.empty()) section.short_for = name + "." + section.short_for;
    if (whole) section.doc = doc;
    if (whole && !short_for.empty()) section.short_for = name + "." + std::string(short_for);
    table.sections.push_back(std::move(section));
  }
}

void load_into(const Table& table, std::span<const std::string> files,
               std::span<const std::string> overrides, Origins* origins) {
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
  complete_values(table, known, problems);
  run_checks(table, known, problems);
  problems.raise();
}

void parse_into(const Table& table, std::string_view text, const std::string& source,
                Origins* origins) {
  Origins local;
  Origins& known = origins != nullptr ? *origins : local;
  Problems problems;
  apply_document(table, parse_yaml(text, source, problems), source, known, problems);
  complete_values(table, known, problems);
  run_checks(table, known, problems);
  problems.raise();
}

std::string read_config_file(const std::string& path, Problems& problems) {
  bool absent = false;
  const auto fail = [&](const std::string& why) {
    problems.add_at(path, "", "cannot read the configuration file: " + why,
                    absent ? check_path(path) : "check the path and its permissions");
    return std::string();
  };
  const std::unique_ptr<std::FILE, int (*)(std::FILE*)> file(std::fopen(path.c_str(), "rbe"),
                                                             &std::fclose);
  absent = !file && errno == ENOENT;
  if (!file) return fail(std::strerror(errno));
  // One byte more than is accepted; the YAML reader then says that it is too much.
  std::string text(kMaxYamlBytes + 1, '\0');
  const size_t n = std::fread(text.data(), 1, text.size(), file.get());
  if (std::ferror(file.get()) != 0) return fail(std::strerror(errno));
  text.resize(n);
  return text;
}

}  // namespace elastron::config

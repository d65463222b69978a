// Strict YAML: the subset that a configuration file may use, as a plain tree.
//
// Over yaml-cpp's parser events. Refused, with the line: anchors, aliases, tags, merge keys,
// duplicate keys, more than one document, depth over 32, more than 1 MiB, text that is not UTF-8.
#pragma once
#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

#include "core/config/problems.h"

namespace elastron::config {

inline constexpr size_t kMaxYamlBytes = size_t(1) << 20;
inline constexpr int kMaxYamlDepth = 32;

struct NodeEntry;

struct Node {
  enum class Kind { null, scalar, sequence, map };
  Kind kind = Kind::null;
  std::string text;                // scalar
  bool quoted = false;             // scalar in quotes: text, never a number or a word such as auto
  int line = 0;                    // from 1
  std::vector<Node> items;         // sequence
  std::vector<NodeEntry> entries;  // map, in file order

  bool plain(std::string_view word) const {
    return kind == Kind::scalar && !quoted && text == word;
  }
};

// A pair of key and value; std::pair wants to know its types before Node is complete.
struct NodeEntry {
  std::string first;
  Node second;
};

// Adds what is wrong to `problems` (as "source:line") and then returns what could be read, possibly
// nothing. An empty document is an empty map.
Node parse_yaml(std::string_view text, const std::string& source, Problems& problems);

// The value of an override: one scalar, list or map on one line. `where` as in error messages.
Node parse_yaml_value(std::string_view text, const std::string& where, Problems& problems);

// A scalar that parse_yaml reads back as exactly this text (UTF-8): plain where that is safe,
// otherwise in double quotes.
std::string yaml_text(std::string_view text);

}  // namespace elastron::config

#include <yaml-cpp/eventhandler.h>
#include <yaml-cpp/exceptions.h>
#include <yaml-cpp/mark.h>
#include <yaml-cpp/parser.h>

#include <algorithm>
#include <functional>
#include <optional>
#include <sstream>
#include <unordered_set>
#include <utility>

#include "core/config/node.h"
#include "core/utf8.h"

namespace elastron::config {
namespace {

using Where = std::function<std::string(int line)>;

struct Stop {};  // what follows cannot be understood; the problem has been noted

class TreeBuilder final : public YAML::EventHandler {
 public:
  // `text` is what the parser reads.
  TreeBuilder(std::string_view text, Where where, Problems& problems)
      : text_(text), where_(std::move(where)), problems_(problems) {}

  std::optional<Node> take() { return std::move(root_); }

  void OnDocumentStart(const YAML::Mark&) override {}
  void OnDocumentEnd() override {}

  void OnNull(const YAML::Mark& mark, YAML::anchor_t anchor) override {
    refuse_anchor(mark, anchor);
    if (key_expected()) fail(mark, "a key is missing", "write 'key: value'");
    place({.kind = Node::Kind::null, .line = line_of(mark)});
  }

  void OnAlias(const YAML::Mark& mark, YAML::anchor_t) override {
    fail(mark, "an alias (*name)", "write the value out");
  }

  void OnScalar(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t anchor,
                const std::string& value) override {
    refuse_anchor(mark, anchor);
    // The parser's own marks: "?" for plain text, "!" for quotes (or the tag that says the same).
    if (!tag.empty() && tag != "?" && tag != "!") refuse_tag(mark);
    const bool quoted_scalar = tag == "!";
    if (quoted_scalar) check_quotes(mark);
    if (!key_expected()) {
      place({.kind = Node::Kind::scalar,
             .text = value,
             .quoted = quoted_scalar,
             .line = line_of(mark)});
      return;
    }
    Frame& frame = stack_.back();
    if (value == "<<" && !quoted_scalar) {
      problem(mark, "a merge key (<<)", "write the keys out");
    } else if (!frame.seen.insert(value).second) {
      problem(mark, "duplicate key " + in_quotes(value), "remove one of them");
    }
    frame.key = value;
    frame.key_line = line_of(mark);
    frame.has_key = true;
  }

  void OnSequenceStart(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t anchor,
                       YAML::EmitterStyle::value) override {
    open(mark, tag, anchor, Node::Kind::sequence);
  }
  void OnSequenceEnd() override { close(); }
  void OnMapStart(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t anchor,
                  YAML::EmitterStyle::value) override {
    open(mark, tag, anchor, Node::Kind::map);
  }
  void OnMapEnd() override { close(); }

 private:
  struct Frame {
    Node node;
    bool has_key = false;  // map: the next node is the value of `key`
    std::string key;
    int key_line = 0;
    std::unordered_set<std::string> seen;
  };

  static int line_of(const YAML::Mark& mark) { return mark.line + 1; }

  void problem(const YAML::Mark& mark, const std::string& what, const std::string& todo) {
    problems_.add_at(where_(line_of(mark)), "", what, todo);
  }
  [[noreturn]] void fail(const YAML::Mark& mark, const std::string& what, const std::string& todo) {
    problem(mark, what, todo);
    throw Stop{};
  }
  void refuse_anchor(const YAML::Mark& mark, YAML::anchor_t anchor) {
    if (anchor != YAML::NullAnchor) problem(mark, "an anchor (&name)", "remove it");
  }
  void refuse_tag(const YAML::Mark& mark) { problem(mark, "a tag (!type)", "remove it"); }

  // yaml-cpp closes an open quote at the end of the file without a word.
  void check_quotes(const YAML::Mark& mark) {
    size_t at = size_t(mark.pos);
    const char quote = at < text_.size() ? text_[at] : '\0';
    if (quote != '"' && quote != '\'') {
      refuse_tag(mark);  // "! text"
      return;
    }
    for (++at; at < text_.size(); ++at) {
      if (quote == '"' && text_[at] == '\\') {
        ++at;
      } else if (text_[at] == quote) {
        if (quote == '"' || at + 1 == text_.size() || text_[at + 1] != quote) return;
        ++at;
      }
    }
    fail(mark, "a quote that is not closed", "close it");
  }

  bool key_expected() const {
    return !stack_.empty() && stack_.back().node.kind == Node::Kind::map && !stack_.back().has_key;
  }

  void open(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t anchor,
            Node::Kind kind) {
    refuse_anchor(mark, anchor);
    if (!tag.empty() && tag != "?") refuse_tag(mark);
    if (key_expected()) fail(mark, "a list or map as a key", "use a word, or close the bracket");
    if (int(stack_.size()) >= kMaxYamlDepth) {
      fail(mark, "nested deeper than " + std::to_string(kMaxYamlDepth), "flatten it");
    }
    stack_.push_back({});
    stack_.back().node.kind = kind;
    stack_.back().node.line = line_of(mark);
  }

  void close() {
    Node node = std::move(stack_.back().node);
    stack_.pop_back();
    place(std::move(node));
  }

  void place(Node node) {
    if (stack_.empty()) {
      root_ = std::move(node);
      return;
    }
    Frame& frame = stack_.back();
    if (frame.node.kind == Node::Kind::sequence) {
      frame.node.items.push_back(std::move(node));
      return;
    }
    node.line = frame.key_line;
    frame.node.entries.push_back({std::move(frame.key), std::move(node)});
    frame.has_key = false;
  }

  const std::string_view text_;
  const Where where_;
  Problems& problems_;
  std::vector<Frame> stack_;
  std::optional<Node> root_;
};

int line_at(std::string_view text, size_t offset) {
  return 1 + int(std::ranges::count(text.substr(0, offset), '\n'));
}

// False, with a problem noted, when the bytes are not acceptable text.
bool acceptable_text(std::string_view text, const Where& where, Problems& problems) {
  if (text.size() > kMaxYamlBytes) {
    problems.add_at(where(1), "", "more than 1 MiB of YAML", "check that this is the right file");
    return false;
  }
  if (const auto offset = first_invalid_utf8(text)) {
    problems.add_at(where(line_at(text, *offset)), "", "not UTF-8", "save the file as UTF-8");
    return false;
  }
  // yaml-cpp takes byte 4 for the end of the input.
  const auto control = std::ranges::find_if(text, [](unsigned char c) {
    return (c < 0x20 && c != '\t' && c != '\n' && c != '\r') || c == 0x7f;
  });
  if (control != text.end()) {
    problems.add_at(where(line_at(text, size_t(control - text.begin()))), "", "a control character",
                    "remove it, or write it as \\xNN in double quotes");
    return false;
  }
  return true;
}

std::optional<Node> parse(std::string_view text, const Where& where, Problems& problems) {
  if (!acceptable_text(text, where, problems)) return {};
  // Positions count from after the byte order mark.
  if (text.starts_with("\xEF\xBB\xBF")) text.remove_prefix(3);
  TreeBuilder builder(text, where, problems);
  try {
    std::istringstream stream{std::string(text)};
    YAML::Parser parser(stream);
    if (!parser.HandleNextDocument(builder)) return {};
    std::optional<Node> node = builder.take();
    Problems unused;
    TreeBuilder rest(text, where, unused);
    if (parser.HandleNextDocument(rest)) {
      problems.add_at(where(1), "", "more than one YAML document", "keep one document per file");
    }
    return node;
  } catch (const Stop&) {
  } catch (const YAML::Exception& error) {
    const int line = error.mark.is_null() ? 1 : error.mark.line + 1;
    problems.add_at(where(line), "", "not valid YAML: " + error.msg, "correct the syntax");
  }
  return {};
}

std::string_view trimmed(std::string_view text) {
  const size_t first = text.find_first_not_of(" \t");
  if (first == text.npos) return {};
  return text.substr(first, text.find_last_not_of(" \t") - first + 1);
}

}  // namespace

Node parse_yaml(std::string_view text, const std::string& source, Problems& problems) {
  const Where where = [&](int line) { return source + ":" + std::to_string(line); };
  Node empty{.kind = Node::Kind::map, .line = 1};
  std::optional<Node> node = parse(text, where, problems);
  if (!node || node->kind == Node::Kind::null) return empty;
  if (node->kind != Node::Kind::map) {
    problems.add_at(where(node->line), "", "not a list of keys", "write 'key: value' lines");
    return empty;
  }
  return std::move(*node);
}

Node parse_yaml_value(std::string_view text, const std::string& where, Problems& problems) {
  Node null_node{.kind = Node::Kind::null, .line = 1};
  if (text.find_first_of("\r\n") != text.npos) {
    problems.add_at(where, "", "a line break in a value", "write it in one line");
    return null_node;
  }
  std::optional<Node> node = parse(
      text, [&](int) { return where; }, problems);
  if (!node) return null_node;
  // A comment would be dropped without a word.
  if (node->kind == Node::Kind::scalar && !node->quoted && node->text != trimmed(text)) {
    problems.add_at(where, "", "the value would be read as " + in_quotes(node->text),
                    "put it in double quotes");
  }
  return std::move(*node);
}

std::string yaml_text(std::string_view text) {
  // Words that YAML readers, or this one, take for something else.
  static constexpr std::string_view kReserved[] = {"null", "true", "false", "yes", "no", "on",
                                                   "off",  "none", "auto",  "y",   "n"};
  const auto lower = [](char c) { return c >= 'A' && c <= 'Z' ? char(c - 'A' + 'a') : c; };
  const auto letter_or_digit = [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
  };
  std::string folded(text);
  std::ranges::transform(folded, folded.begin(), lower);
  const bool plain = !text.empty() &&
                     (letter_or_digit(text[0]) || text[0] == '_' || text[0] == '/') &&
                     std::ranges::all_of(text,
                                         [&](char c) {
                                           return letter_or_digit(c) || c == '_' || c == '/' ||
                                                  c == '.' || c == '-' || c == '+';
                                         }) &&
                     std::ranges::find(kReserved, folded) == std::end(kReserved);
  if (plain) return std::string(text);

  static constexpr char kHex[] = "0123456789abcdef";
  std::string out = "\"";
  for (const char c : text) {
    const auto byte = static_cast<unsigned char>(c);
    if (c == '"' || c == '\\') {
      out += '\\';
      out += c;
    } else if (byte < 0x20 || byte == 0x7f) {
      out += {'\\', 'x', kHex[byte >> 4], kHex[byte & 15]};
    } else {
      out += c;
    }
  }
  return out + "\"";
}

}  // namespace elastron::config

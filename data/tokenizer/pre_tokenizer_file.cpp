#include "data/tokenizer/pre_tokenizer_file.h"

#include "core/utf8.h"
#include "data/tokenizer/character_tables.h"

namespace elastron::data {

namespace {

using nlohmann::json;

// "ByteLevel" splits by this expression when it is asked to split (use_regex).
constexpr const char* kGpt2Pattern =
    R"('s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+)";
// "Digits" goes by Unicode 17, which has some numbers more than regular expressions know.
constexpr const char* kNumberPattern = "[\\p{N}\U00011DE0-\U00011DE9\U00016FF4-\U00016FF6]";

constexpr std::pair<const char*, SplitBehavior> kBehaviors[] = {
    {"Isolated", SplitBehavior::isolated},
    {"Removed", SplitBehavior::removed},
    {"Contiguous", SplitBehavior::contiguous},
    {"MergedWithPrevious", SplitBehavior::merged_with_previous},
    {"MergedWithNext", SplitBehavior::merged_with_next}};

// A pattern that matches this text.
std::string pattern_of(std::string_view text) {
  std::string pattern;
  for (const char c : text) {
    const bool word = uint8_t(c) >= 0x80 || (c >= '0' && c <= '9') || (c >= 'A' && c <= 'Z') ||
                      (c >= 'a' && c <= 'z');
    if (!word && uint8_t(c) > 0x20) pattern += '\\';
    pattern += c;
  }
  return pattern;
}

std::string punctuation_pattern() {
  std::string pattern = "[";
  for (const auto& [first, last] : punctuation_characters()) {
    pattern += pattern_of(in_utf8(first)) + "-" + pattern_of(in_utf8(last));
  }
  return pattern + "]";
}

class Reader {
 public:
  explicit Reader(const TokenizerFile& file) : file_(file) {}

  std::vector<SplitStep> read() {
    const json& top = file_.top("pre_tokenizer");
    const std::string kind = file_.type_of(top, "pre_tokenizer");
    if (kind == "ByteLevel") {
      byte_level(top, "pre_tokenizer");
      return std::move(steps_);
    }
    if (kind != "Sequence") file_.unsupported("pre_tokenizer", kind, "ByteLevel and Sequence");
    const json& list = file_.member(top, "pre_tokenizer.pretokenizers", "pretokenizers");
    if (!list.is_array() || list.empty()) {
      file_.fail("'pre_tokenizer.pretokenizers' is not a list with something in it");
    }
    for (size_t i = 0; i < list.size(); ++i) {
      const std::string name = "pre_tokenizer.pretokenizers[" + std::to_string(i) + "]";
      const std::string step = file_.type_of(list[i], name);
      const bool last = i + 1 == list.size();
      if (step == "ByteLevel" && last) {
        byte_level(list[i], name);
      } else if (step == "Split" && !last) {
        split(list[i], name);
      } else if (step == "Digits" && !last) {
        const bool each = file_.flag(list[i], name, "individual_digits", false);
        add(kNumberPattern, each ? SplitBehavior::isolated : SplitBehavior::contiguous);
      } else if (step == "Punctuation" && !last) {
        const bool given = list[i].contains("behavior");
        add(punctuation_pattern(), given ? behavior(list[i], name) : SplitBehavior::isolated);
      } else {
        file_.unsupported(name, step, "Split, Digits, Punctuation, and ByteLevel at the end");
      }
    }
    return std::move(steps_);
  }

 private:
  void add(const std::string& pattern, SplitBehavior behavior, bool invert = false) {
    steps_.push_back({SplitRegex(pattern, file_.where()), behavior, invert});
  }
  void byte_level(const json& step, const std::string& name) {
    if (file_.flag(step, name, "add_prefix_space", true)) {
      file_.unsupported(name + ".add_prefix_space", "true", "false");
    }
    if (file_.flag(step, name, "use_regex", true)) add(kGpt2Pattern, SplitBehavior::isolated);
  }
  void split(const json& step, const std::string& name) {
    const json& pattern = file_.member(step, name + ".pattern", "pattern");
    const bool is_text = pattern.is_object() && pattern.contains("String");
    const char* key = is_text ? "String" : "Regex";
    if (!pattern.is_object() || !pattern.contains(key) || !pattern[key].is_string()) {
      file_.fail("'" + name + ".pattern.Regex' is missing or not a string");
    }
    const auto& text = pattern[key].get_ref<const std::string&>();
    add(is_text ? pattern_of(text) : text, behavior(step, name),
        file_.flag(step, name, "invert", false));
  }
  SplitBehavior behavior(const json& step, const std::string& name) const {
    const std::string& given = file_.text(step, name + ".behavior", "behavior");
    for (const auto& [known, behavior] : kBehaviors) {
      if (given == known) return behavior;
    }
    file_.unsupported(name + ".behavior", given, "those of the tokenizers library");
  }

  const TokenizerFile& file_;
  std::vector<SplitStep> steps_;
};

}  // namespace

std::vector<SplitStep> read_split_steps(const TokenizerFile& file) { return Reader(file).read(); }

}  // namespace elastron::data

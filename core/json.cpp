#include "core/json.h"

#include <algorithm>
#include <cstddef>
#include <iterator>
#include <optional>
#include <vector>

#include "core/error.h"

namespace elastron {
namespace {

using nlohmann::json;

constexpr const char* kHalfCharacter = "an escape of half a surrogate pair, which is no character";

// Names a word that Python's json writes and JSON lacks; empty for anything else at `offset`.
std::string_view number_of_python(std::string_view text, size_t offset) {
  for (const std::string_view word : {"NaN", "-Infinity", "Infinity"}) {
    if (text.substr(std::min(offset, text.size())).starts_with(word)) return word;
  }
  return {};
}

// Lets the handler know how far the parser has read; its callbacks do not say.
struct TrackedIterator {
  using iterator_category = std::input_iterator_tag;
  using value_type = char;
  using difference_type = std::ptrdiff_t;
  using pointer = const char*;
  using reference = const char&;

  const char* at;
  const char** reached;

  reference operator*() const { return *at; }
  TrackedIterator& operator++() {
    *reached = ++at;
    return *this;
  }
  TrackedIterator operator++(int) {
    TrackedIterator before = *this;
    ++*this;
    return before;
  }
  bool operator==(const TrackedIterator& o) const { return at == o.at; }
  bool operator!=(const TrackedIterator& o) const { return at != o.at; }
};

// Builds the value without recursion.
class Builder final : public nlohmann::json_sax<json> {
 public:
  explicit Builder(int max_depth) : max_depth_(max_depth) {}

  bool null() override { return place(nullptr); }
  bool boolean(bool v) override { return place(v); }
  bool number_integer(number_integer_t v) override { return place(v); }
  bool number_unsigned(number_unsigned_t v) override { return place(v); }
  bool number_float(number_float_t v, const string_t&) override { return place(v); }
  bool string(string_t& v) override { return place(std::move(v)); }
  bool binary(binary_t&) override { return fail("binary value"); }

  bool start_object(size_t) override { return open(json::object()); }
  bool start_array(size_t) override { return open(json::array()); }
  bool end_object() override { return close(); }
  bool end_array() override { return close(); }

  bool key(string_t& name) override {
    if (open_.back()->contains(name)) {
      std::string shown = name.substr(0, 60);
      std::ranges::replace_if(
          shown, [](unsigned char c) { return c < 0x20 || c == 0x7f; }, '?');
      return fail("duplicate key \"" + shown + "\"");
    }
    key_ = std::move(name);
    return true;
  }

  bool parse_error(size_t, const std::string&, const json::exception& error) override {
    // Overflow of a number is the one error of another kind.
    if (error.id == 406) return fail("number too large");
    const std::string_view what = error.what();
    if (what.find("unexpected end of input") != what.npos) return fail("unexpected end");
    if (what.find("surrogate") != what.npos) return fail(kHalfCharacter);
    return fail("not valid JSON");
  }

  json take() { return std::move(root_); }
  const std::string& complaint() const { return complaint_; }

 private:
  bool fail(std::string complaint) {
    complaint_ = std::move(complaint);
    return false;
  }
  json* store(json&& value) {
    if (open_.empty()) {
      root_ = std::move(value);
      return &root_;
    }
    if (open_.back()->is_array()) {
      open_.back()->push_back(std::move(value));
      return &open_.back()->back();
    }
    return &((*open_.back())[std::move(key_)] = std::move(value));
  }
  template <class T>
  bool place(T&& value) {
    store(json(std::forward<T>(value)));
    return true;
  }
  bool open(json&& empty) {
    if (int(open_.size()) >= max_depth_) {
      return fail("nested deeper than " + std::to_string(max_depth_));
    }
    open_.push_back(store(std::move(empty)));
    return true;
  }
  bool close() {
    open_.pop_back();
    return true;
  }

  const int max_depth_;
  json root_;
  // Innermost last. Stays valid: only the innermost container grows.
  std::vector<json*> open_;
  std::string key_;
  std::string complaint_;
};

[[noreturn]] void refuse(std::string_view text, const std::string& where, size_t offset,
                         std::string complaint) {
  std::string todo = "correct the file or make it anew";
  // The parser has read the sign when it finds that no digit follows.
  if (offset > 0 && text.substr(offset - 1).starts_with("-Infinity")) --offset;
  if (const auto word = number_of_python(text, offset); !word.empty()) {
    complaint = std::string(word) + " is no number of JSON";
    todo = "write null in its place, or leave the field out";
  } else if (complaint == kHalfCharacter) {
    todo = "write both halves, or \\ufffd in their place";
  }
  const std::string_view before = text.substr(0, offset);
  const auto line = 1 + std::ranges::count(before, '\n');
  const size_t line_start = before.rfind('\n') + 1;  // 0 when there is none
  throw InputError(
      "not acceptable JSON: " + complaint,
      where + ", line " + std::to_string(line) + " byte " + std::to_string(offset - line_start + 1),
      todo);
}

}  // namespace

json parse_json_strict(std::string_view text, const std::string& where, JsonLimits limits) {
  if (text.size() > limits.max_bytes) {
    throw InputError("JSON of " + std::to_string(text.size()) + " bytes", where,
                     "at most " + std::to_string(limits.max_bytes) + " bytes are accepted");
  }
  // The parser takes a NUL for the end of its input and would not look at what follows.
  if (const size_t nul = text.find('\0'); nul != text.npos) refuse(text, where, nul, "NUL byte");

  const char* reached = text.data();
  Builder builder(limits.max_depth);
  const bool ok = json::sax_parse(TrackedIterator{text.data(), &reached},
                                  TrackedIterator{text.data() + text.size(), &reached}, &builder);
  if (!ok) {
    const auto read = static_cast<size_t>(reached - text.data());
    refuse(text, where, read == 0 ? 0 : read - 1, builder.complaint());
  }
  return builder.take();
}

}  // namespace elastron

#include "data/tokenizer/added_tokens.h"

#include <algorithm>

#include "core/error.h"
#include "core/utf8.h"

namespace elastron::data {

namespace {

// Compares a token's byte at `position` with a byte.
struct Compare {
  size_t position;
  bool operator()(const AddedToken& token, char byte) const {
    return uint8_t(token.content[position]) < uint8_t(byte);
  }
  bool operator()(char byte, const AddedToken& token) const {
    return uint8_t(byte) < uint8_t(token.content[position]);
  }
};

bool touch(std::span<const TextRange> ranges, size_t begin, size_t end) {
  const auto next = std::ranges::upper_bound(ranges, begin, {}, &TextRange::end);
  return next != ranges.end() && next->begin < end;
}

// The ranges in what `change` makes of the text: of each border, what it makes of the text before.
template <class Change>
std::vector<TextRange> moved(std::span<const TextRange> ranges, std::string_view text,
                             const Change& change) {
  std::string storage;
  const auto to = [&](size_t border) { return change(text.substr(0, border), storage).size(); };
  std::vector<TextRange> out;
  for (const TextRange& range : ranges) out.push_back({to(range.begin), to(range.end)});
  return out;
}

}  // namespace

AddedTokenSplitter::AddedTokenSplitter(std::vector<AddedToken> tokens)
    : tokens_(std::move(tokens)) {
  std::ranges::stable_sort(tokens_, {}, &AddedToken::content);
  // std::ranges::unique gives a subrange, which clang 14 (fuzzing) cannot instantiate.
  const auto end =
      std::unique(tokens_.begin(), tokens_.end(),
                  [](const AddedToken& a, const AddedToken& b) { return a.content == b.content; });
  tokens_.erase(end, tokens_.end());
  for (uint32_t i = 0; i < tokens_.size(); ++i) {
    ELASTRON_CHECK(!tokens_[i].content.empty(), "an added token without text");
    auto& [first, last] = by_first_byte_[uint8_t(tokens_[i].content[0])];
    if (last == 0) first = i;
    last = i + 1;
  }
}

const AddedToken* AddedTokenSplitter::longest_at(std::string_view text, size_t at,
                                                 std::span<const TextRange> plain) const {
  const std::string_view rest = text.substr(at);
  auto [first, last] = by_first_byte_[uint8_t(rest[0])];
  const AddedToken* longest = nullptr;
  // Tokens [first, last) agree with the text in `length` bytes. In order of content the one that
  // ends there comes first.
  for (size_t length = 1; first < last; ++length) {
    if (tokens_[first].content.size() == length) {
      const AddedToken& token = tokens_[first++];
      if (!token.control || !touch(plain, at, at + length)) longest = &token;
    }
    if (length == rest.size()) break;
    const auto begin = tokens_.begin();
    const auto [from, to] =
        std::equal_range(begin + first, begin + last, rest[length], Compare{length});
    first = uint32_t(from - begin);
    last = uint32_t(to - begin);
  }
  return longest;
}

std::vector<AddedTokenSplitter::Part> AddedTokenSplitter::split(
    std::string_view text, std::span<const TextRange> plain) const {
  std::vector<Part> parts;
  size_t begin = 0;
  for (size_t at = 0; at < text.size();) {
    if (by_first_byte_[uint8_t(text[at])].second == 0) {
      ++at;
      continue;
    }
    const AddedToken* token = longest_at(text, at, plain);
    if (token == nullptr) {
      ++at;
      continue;
    }
    if (at > begin) parts.push_back({text.substr(begin, at - begin)});
    parts.push_back({text.substr(at, token->content.size()), token->id, token->control});
    begin = at += token->content.size();
  }
  if (begin < text.size()) parts.push_back({text.substr(begin)});
  return parts;
}

AddedTokens::AddedTokens(std::vector<AddedToken> as_written, std::vector<AddedToken> normalized,
                         NormalForm form)
    : as_written_(as_written), normalized_(normalized), form_(form) {
  for (const auto* tokens : {&as_written, &normalized}) {
    for (const AddedToken& token : *tokens) {
      if (!token.control) continue;
      controls_.push_back(token.id);
      normalized_controls_ = normalized_controls_ || tokens == &normalized;
    }
  }
  std::ranges::sort(controls_);
}

void AddedTokens::split(std::string_view text, std::span<const TextRange> plain,
                        const std::function<void(const AddedTokenSplitter::Part&)>& on_part) const {
  std::string replaced, composed;
  const std::string_view whole = replace_invalid_utf8(text, replaced);
  std::vector<TextRange> of_whole;
  if (whole.data() != text.data() && !plain.empty()) {
    plain = of_whole = moved(plain, text, replace_invalid_utf8);
  }
  for (const auto& part : as_written_.split(whole, plain)) {
    if (part.id >= 0) {
      on_part(part);
      continue;
    }
    const std::string_view normal = normalize(form_, part.text, composed);
    std::vector<TextRange> of_part;
    if (!plain.empty()) {
      const auto begin = size_t(part.text.data() - whole.data());
      of_part = ranges_within(plain, begin, begin + part.text.size());
      if (normal.data() != part.text.data()) {
        of_part = moved(of_part, part.text, [&](std::string_view before, std::string& storage) {
          return normalize(form_, before, storage);
        });
      }
    }
    for (const auto& piece : normalized_.split(normal, of_part)) on_part(piece);
  }
}

std::vector<int32_t> AddedTokens::controls_in(std::string_view text) const {
  std::vector<int32_t> found;
  const auto take = [&](const AddedTokenSplitter::Part& part) {
    if (part.control) found.push_back(part.id);
  };
  if (normalized_controls_) {
    split(text, {}, take);
  } else {
    for (const auto& part : as_written_.split(text)) take(part);
  }
  return found;
}

bool AddedTokens::is_control(int32_t id) const { return std::ranges::binary_search(controls_, id); }

}  // namespace elastron::data

// The words that made-up stories and their memories are told in. English: names, places and
// everyday sentences. Coded: the vocabulary of the synthetic tasks (data/synthetic/tasks.h), a
// token for each word, facts in the form of its task `recall`.
#pragma once
#include <cstdint>
#include <span>
#include <string>
#include <string_view>

#include "core/philox.h"

namespace elastron::reward {

enum class Lexicon : uint8_t {
  automatic,  // coded where the tokenizer has its words, else english
  english,
  coded,
};

// Text that grows by words and knows how many it has.
class TraceText {
 public:
  void add(std::string_view word);         // one word
  void add_words(std::string_view words);  // separated by single spaces
  void end_line() { line_ended_ = true; }
  int64_t words() const { return words_; }
  std::string take() { return std::move(text_); }

 private:
  std::string text_;
  int64_t words_ = 0;
  bool line_ended_ = false;
};

int64_t word_count(const std::string& text);  // of such a text

// Who and where are numbers below names(); english or coded.
class TraceLanguage {
 public:
  explicit TraceLanguage(Lexicon lexicon) : english_(lexicon == Lexicon::english) {}

  uint32_t names() const;          // of entities, and as many of values
  int64_t most_sections() const;   // that have headings of their own
  int64_t longest_remark() const;  // in words

  // The prompt.
  void section(TraceText& to, uint32_t number) const;
  void fact(TraceText& to, RandomStream& random, uint32_t entity, uint32_t value) const;
  // Words that say nothing, until there are `words` in all: exactly in coded text, less or more by
  // not quite a sentence in English.
  void noise_until(TraceText& to, RandomStream& random, int64_t words) const;
  void task(TraceText& to, std::span<const uint32_t> cast) const;
  void question(TraceText& to, uint32_t entity) const;

  // The trace.
  void memory(TraceText& to, uint32_t number) const;
  void branch(TraceText& to, uint32_t number) const;
  void merged(TraceText& to) const;
  void entry(TraceText& to, uint32_t entity, uint32_t value) const;
  void no_entry(TraceText& to) const;
  void remark(TraceText& to, RandomStream& random) const;  // nothing, or what says nothing
  void answer(TraceText& to, uint32_t entity, uint32_t value) const;

 private:
  bool english_;
};

}  // namespace elastron::reward

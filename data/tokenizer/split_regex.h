// The regular expressions of tokenizer.json's "Split", run by PCRE2 with the meaning that the
// reference (Oniguruma, Unicode 16) gives them.
#pragma once
#include <cstddef>
#include <memory>
#include <string>
#include <string_view>

namespace elastron::data {

class SplitRegex {
 public:
  // Accepts what the patterns of the supported families are made of and what means the same to both
  // libraries: literals, \r \n \t, \s \S, \p and \P with the categories of letters, marks, numbers,
  // punctuation and symbols, escaped punctuation, classes, groups (?: (?i: (?= (?!, alternatives and
  // quantifiers, possessive ones too. Throws InputError naming `where` for anything else, for a
  // pattern that does not compile and for one that can match nothing.
  SplitRegex(const std::string& pattern, const std::string& where);
  SplitRegex(SplitRegex&&) noexcept;
  ~SplitRegex();

  struct Match {
    size_t begin = 0, end = 0;  // bytes; never empty
  };

  // Finds the matches in one text, from left to right. Any number of scans may run at once, on any
  // threads.
  class Scan {
   public:
    // `text` must be UTF-8 and outlive the scan.
    Scan(const SplitRegex& regex, std::string_view text);
    // False when there is no further match. Throws InputError when the pattern needs too many
    // steps, too much memory or, over the whole text, too much time.
    bool next(Match& match);

   private:
    void look_at_clock();

    const SplitRegex& regex_;
    std::string shadow_;     // when the text has to look different to PCRE2
    std::string_view text_;  // what PCRE2 sees: same length, same boundaries of characters
    size_t at_ = 0;
    int64_t calls_ = 0;
    int64_t deadline_ns_ = 0;  // of this thread's CPU clock; 0: not set yet
  };

 private:
  struct Compiled;
  std::unique_ptr<Compiled> compiled_;
};

}  // namespace elastron::data

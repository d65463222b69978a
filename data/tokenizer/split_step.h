// One step of a pre-tokenizer: text is cut at the matches of a regular expression.
#pragma once
#include <string_view>

#include "data/tokenizer/split_regex.h"

namespace elastron::data {

// What becomes of matches and of what lies between them (gaps). With `invert` each is taken for the
// other.
enum class SplitBehavior : uint8_t {
  isolated,              // all are pieces
  removed,               // gaps are pieces
  contiguous,            // so are runs of matches
  merged_with_previous,  // a match ends the piece of the gap before it
  merged_with_next,      // a match begins the piece of the gap behind it
};

struct SplitStep {
  SplitRegex regex;
  SplitBehavior behavior = SplitBehavior::isolated;
  bool invert = false;
};

// Joins matches and gaps, given from left to right, into pieces.
template <class OnPiece>
class PieceJoiner {
 public:
  PieceJoiner(std::string_view text, SplitBehavior behavior, const OnPiece& on_piece)
      : text_(text), behavior_(behavior), on_piece_(on_piece) {}

  void add(size_t begin, size_t end, bool match) {
    if (begin == end || (match && behavior_ == SplitBehavior::removed)) return;
    if (!joins(match)) {
      flush();
      begin_ = begin;
    }
    end_ = end;
    match_ = match;
  }
  void flush() {
    if (begin_ < end_) on_piece_(text_.substr(begin_, end_ - begin_));
    begin_ = end_;
  }

 private:
  // Whether what comes belongs to the piece that is open.
  bool joins(bool match) const {
    if (begin_ == end_) return false;
    switch (behavior_) {
      case SplitBehavior::contiguous: return match == match_;
      case SplitBehavior::merged_with_previous: return match && !match_;
      case SplitBehavior::merged_with_next: return match_ && !match;
      default: return false;
    }
  }

  std::string_view text_;
  SplitBehavior behavior_;
  const OnPiece& on_piece_;
  size_t begin_ = 0, end_ = 0;  // the piece that is open
  bool match_ = false;          // what it ends with
};

// The pieces of `text`, from left to right.
template <class OnPiece>
void split_in_pieces(const SplitStep& step, std::string_view text, const OnPiece& on_piece) {
  PieceJoiner<OnPiece> pieces(text, step.behavior, on_piece);
  SplitRegex::Scan scan(step.regex, text);
  SplitRegex::Match match;
  size_t end = 0;
  while (scan.next(match)) {
    pieces.add(end, match.begin, step.invert);
    pieces.add(match.begin, match.end, !step.invert);
    end = match.end;
  }
  pieces.add(end, text.size(), step.invert);
  pieces.flush();
}

}  // namespace elastron::data

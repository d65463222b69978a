// A task before its length is known.
#pragma once
#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "core/philox.h"

namespace elastron::benchmark {

struct Draft {
  std::function<std::string(int64_t units)> input;  // with so much text around what is asked for
  int64_t fewest_units = 1;
  std::string answer_prefix;
  std::vector<std::string> outputs;
};

// What is drawn for one row, by what it is drawn for.
class Draws {
 public:
  enum class For : uint32_t { needles, depths, filler, order };
  Draws(uint64_t seed, std::string_view task, int64_t index)
      : seed_(seed), task_(random_coordinate(task)), index_(uint32_t(index)) {}
  RandomStream stream(For what) const {
    return {seed_, RandomPurpose::synthetic_data, task_, index_, uint32_t(what)};
  }

 private:
  uint64_t seed_;
  uint32_t task_, index_;
};

// A sentence to hide at `depth`, in [0, 1], of the text.
struct Needle {
  double depth = 0;
  std::string text;
};

// `units` pieces of filler with the needles among them, in the order of their depths.
std::string with_needles(const std::function<std::string(int64_t)>& filler, int64_t units,
                         const std::vector<Needle>& needles, const std::string& separator);

// `first_depth` is that of the first needle.
Draft needle_draft(std::string_view kind, const Draws& draws, double first_depth);
Draft variables_draft(const Draws& draws, double first_depth);
Draft question_draft(bool two_steps, const Draws& draws, double first_depth);
// `scarce`: for texts too short for the usual numbers of repetitions.
Draft common_words_draft(const Draws& draws, bool scarce);
Draft frequent_words_draft(const Draws& draws);

}  // namespace elastron::benchmark

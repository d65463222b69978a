// docs/method.md, Worked values of pairs, 6.
#include "reward/verdict.h"

#include <gtest/gtest.h>

namespace elastron::reward {
namespace {

TEST(Verdict, WorkedOutputs) {
  const struct {
    const char* output;
    bool strict, lenient;
  } cases[] = {{"[[B]] ok", true, true},
               {" [[B]]", false, true},
               {"[[A]]", false, false},
               {"I say [[B]]", false, true},
               {"", false, false},
               {"After analyzing both:\n\n[[B]]\n\nAgent B's trajectory", false, true}};
  for (const auto& c : cases) {
    // Order [1, 0]: A was the rejected response.
    EXPECT_EQ(verdict_is_right(c.output, false, VerdictRule::strict), c.strict) << c.output;
    EXPECT_EQ(verdict_is_right(c.output, false, VerdictRule::lenient), c.lenient) << c.output;
  }
  EXPECT_TRUE(verdict_is_right("[[A]]", true, VerdictRule::strict));
  EXPECT_EQ(verdict("[[B]] or [[A]]", VerdictRule::lenient), Verdict::a);
  EXPECT_EQ(verdict("[[B]] or [[A]]", VerdictRule::strict), Verdict::b);
  EXPECT_EQ(verdict("neither", VerdictRule::lenient), std::nullopt);
}

}  // namespace
}  // namespace elastron::reward

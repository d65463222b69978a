// What the JSON of `elastron eval --out` says of heads and kinds, compared over layouts.
#pragma once
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>
#include <string>

namespace elastron::test {

// Of a run's router, on ranks that share it differently: the gates are the same, and the cosines but
// for float32's rounding of the keys (some thousand terms each, as expect_same_curve() has it).
inline void expect_same_heads(const nlohmann::json& a, const nlohmann::json& b) {
  ASSERT_GT(a["full_by_kind"].size(), 1u);
  EXPECT_EQ(a["full_by_kind"], b["full_by_kind"]);
  const auto &x = a["features_by_kind"], &y = b["features_by_kind"];
  ASSERT_EQ(x["kinds"], y["kinds"]);
  ASSERT_EQ(x["kinds"].size(), a["by_kind"].size());
  for (const std::string side : {"before", "after"}) {
    double least = 1;
    for (size_t i = 0; i < x["kinds"].size(); ++i) {
      for (size_t j = 0; j < x["kinds"].size(); ++j) {
        const double cosine = x[side][i][j];
        EXPECT_NEAR(cosine, y[side][i][j].get<double>(), 1e-5) << side << i << j;
        least = std::min(least, cosine);
      }
    }
    EXPECT_LT(least, 1 - 1e-4) << side;  // kinds differ
  }
}

}  // namespace elastron::test

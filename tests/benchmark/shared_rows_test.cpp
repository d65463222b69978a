// Rows that are finished in any order are kept in theirs.
#include "benchmark/running/shared_rows.h"

#include <gtest/gtest.h>

namespace elastron::benchmark {
namespace {

struct Kept {
  bool whole = false;
  std::vector<int64_t> places;
  std::vector<std::string> results;
};

// Places in the order in which they are finished, a step's in one list.
Kept keep(std::vector<std::vector<int64_t>> finished, int64_t rows, int64_t between_exchanges,
          int stops_after = 1 << 20) {
  Kept kept;
  size_t next = 0;
  int asked = 0;
  const SharedRows work{.rows = rows,
                        .between_exchanges = between_exchanges,
                        .step =
                            [&] {
                              std::vector<FinishedRow> list;
                              for (const int64_t place : finished.at(next)) {
                                list.push_back({place, "r\n\"" + std::to_string(place)});
                              }
                              ++next;
                              return list;
                            },
                        .keep =
                            [&](const FinishedRow& row) {
                              kept.places.push_back(row.place);
                              kept.results.push_back(row.result);
                            }};
  const parallel::Mesh mesh = parallel::Mesh::single();
  kept.whole = work_on(work, mesh,
                       {.beat = [] {}, .stop_requested = [&] { return ++asked >= stops_after; }});
  return kept;
}

using Places = std::vector<int64_t>;

TEST(SharedRows, AreKeptInTheirOrder) {
  const Kept one = keep({{}, {2}, {0}, {}, {4, 1}, {3}}, 5, 1);
  EXPECT_TRUE(one.whole);
  EXPECT_EQ(one.places, (Places{0, 1, 2, 3, 4}));
  EXPECT_EQ(one.results[3], "r\n\"3");
  EXPECT_EQ(keep({{3, 2}, {}, {1, 0}, {4}}, 5, 2).places, (Places{0, 1, 2, 3, 4}));
  EXPECT_EQ(keep({{1, 0, 2}}, 3, 7).places, (Places{0, 1, 2}));
  EXPECT_TRUE(keep({}, 0, 4).whole);
}

TEST(SharedRows, AreTheFirstOnesWhereItIsStopped) {
  const Kept stopped = keep({{2}, {0}, {3}, {1}, {4}}, 5, 1, 3);
  EXPECT_FALSE(stopped.whole);
  EXPECT_EQ(stopped.places, (Places{0}));
  // Asked for only while there is more to do.
  EXPECT_TRUE(keep({{0}, {1}}, 2, 1, 2).whole);
}

}  // namespace
}  // namespace elastron::benchmark

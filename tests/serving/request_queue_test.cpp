#include "serving/request_queue.h"

#include <gtest/gtest.h>

#include <thread>

#include "serving/api_error.h"

namespace elastron::serving {
namespace {

using namespace std::chrono_literals;
using inference::Finish;

std::vector<inference::Request> requests(size_t n) {
  return std::vector<inference::Request>(n, inference::Request{.prompt = {1}});
}
Update update(int64_t number, std::optional<Finish> finish = {}) {
  Update u;
  u.number = number;
  u.finish = finish;
  return u;
}

TEST(RequestQueue, BringsUpdatesToTheirCall) {
  RequestQueue queue(10);
  const auto a = queue.submit(requests(1)), b = queue.submit(requests(2));
  const auto orders = queue.take(0ms);
  ASSERT_EQ(orders.begin.size(), 3u);
  EXPECT_EQ(orders.begin[0].first, a.numbers[0]);
  EXPECT_EQ(queue.counts().waiting, 3);
  queue.deliver(update(b.numbers[1]));
  queue.deliver(update(b.numbers[1], Finish::stop));
  queue.deliver(update(a.numbers[0], Finish::length));
  EXPECT_EQ(queue.counts().waiting, 1);
  EXPECT_EQ(queue.counts().open, 1);
  EXPECT_EQ(a.mailbox->wait(0ms)->update.finish, Finish::length);
  EXPECT_FALSE(a.mailbox->wait(0ms));
  const auto letter = b.mailbox->wait(0ms);
  ASSERT_TRUE(letter);
  EXPECT_EQ(letter->choice, 1u);
  EXPECT_FALSE(letter->update.finish);
  EXPECT_TRUE(b.mailbox->wait(0ms)->update.finish);
}

TEST(RequestQueue, RefusesWhatWouldWaitTooLong) {
  RequestQueue queue(3);
  const auto call = queue.submit(requests(2));
  try {
    queue.submit(requests(2));
    FAIL();
  } catch (const ApiError& e) {
    EXPECT_EQ(e.status, 429);
  }
  queue.take(0ms);
  queue.deliver(update(call.numbers[0]));  // it has begun
  queue.submit(requests(2));
  queue.close();
  try {
    queue.submit(requests(1));
    FAIL();
  } catch (const ApiError& e) {
    EXPECT_EQ(e.status, 503);
  }
}

TEST(RequestQueue, WhatIsGivenUpNeverBeginsOrEnds) {
  RequestQueue queue(10);
  const auto never = queue.submit(requests(2));
  queue.cancel(never);
  EXPECT_TRUE(queue.take(0ms).empty());
  const auto begun = queue.submit(requests(2));
  queue.take(0ms);
  queue.deliver(update(begun.numbers[0], Finish::stop));
  queue.cancel(begun);
  const auto orders = queue.take(0ms);
  EXPECT_TRUE(orders.begin.empty());
  EXPECT_EQ(orders.cancel, std::vector<int64_t>{begun.numbers[1]});
  queue.deliver(update(begun.numbers[1]));  // it was under way
  EXPECT_EQ(queue.counts().open, 0);
  EXPECT_EQ(queue.counts().waiting, 0);
  EXPECT_TRUE(begun.mailbox->wait(0ms));
  EXPECT_FALSE(begun.mailbox->wait(0ms));
}

TEST(RequestQueue, WakesTheOneThatComputes) {
  RequestQueue queue(10);
  std::thread later([&] { queue.submit(requests(1)); });
  EXPECT_EQ(queue.take(60s).begin.size(), 1u);
  later.join();
  std::thread end([&] { queue.close(); });
  EXPECT_TRUE(queue.take(60s).empty());
  end.join();
}

}  // namespace
}  // namespace elastron::serving

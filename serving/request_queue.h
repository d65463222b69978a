// Requests from connections' threads to the one that computes, and what comes of them back.
#pragma once
#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <deque>
#include <memory>
#include <mutex>
#include <optional>
#include <unordered_map>
#include <vector>

#include "inference/request.h"
#include "serving/update.h"

namespace elastron::serving {

// The updates of the requests of one call, in the order of their coming. Thread-safe.
class Mailbox {
 public:
  void put(size_t choice, Update update);
  struct Letter {
    size_t choice;
    Update update;
  };
  // Nothing where none comes in that time.
  std::optional<Letter> wait(std::chrono::milliseconds time);

 private:
  std::mutex mutex_;
  std::condition_variable came_;
  std::deque<Letter> letters_;
};

class RequestQueue {
 public:
  // At most so many requests that have not begun.
  explicit RequestQueue(int64_t most_waiting) : most_waiting_(most_waiting) {}

  // From connections. A call's requests come together, or not at all: throws ApiError 429 where too
  // many wait, 503 once closed.
  struct Call {
    std::shared_ptr<Mailbox> mailbox;
    std::vector<int64_t> numbers;
  };
  Call submit(std::vector<inference::Request> requests);
  // What is not finished of the call is given up.
  void cancel(const Call& call);
  // No request comes in any more.
  void close();

  // From the thread that computes.
  struct Orders {
    std::vector<std::pair<int64_t, inference::Request>> begin;
    std::vector<int64_t> cancel;
    bool empty() const { return begin.empty() && cancel.empty(); }
  };
  // Waits for orders, but not longer than that.
  Orders take(std::chrono::milliseconds time);
  void deliver(Update update);

  struct Counts {
    int64_t waiting = 0, open = 0;  // have not begun; are not finished
  };
  Counts counts() const;

 private:
  struct Open {
    std::shared_ptr<Mailbox> mailbox;
    size_t choice;
    bool begun = false;
  };
  void forget(std::unordered_map<int64_t, Open>::iterator it);

  mutable std::mutex mutex_;
  std::condition_variable ordered_;
  int64_t most_waiting_, waiting_ = 0, next_ = 0;
  bool closed_ = false;
  Orders orders_;
  std::unordered_map<int64_t, Open> open_;
};

}  // namespace elastron::serving

#include "serving/request_queue.h"

#include <fmt/format.h>

#include <algorithm>

#include "serving/api_error.h"

namespace elastron::serving {

void Mailbox::put(size_t choice, Update update) {
  const std::lock_guard lock(mutex_);
  letters_.push_back({choice, std::move(update)});
  came_.notify_one();
}

std::optional<Mailbox::Letter> Mailbox::wait(std::chrono::milliseconds time) {
  std::unique_lock lock(mutex_);
  if (!came_.wait_for(lock, time, [&] { return !letters_.empty(); })) return {};
  Letter letter = std::move(letters_.front());
  letters_.pop_front();
  return letter;
}

RequestQueue::Call RequestQueue::submit(std::vector<inference::Request> requests) {
  const std::lock_guard lock(mutex_);
  if (closed_) throw ApiError(503, "server_error", "the server is ending");
  if (waiting_ + int64_t(requests.size()) > most_waiting_) {
    throw ApiError(429, "rate_limit_error",
                   fmt::format("{} requests are waiting: try again later", waiting_), {},
                   "queue_full");
  }
  Call call{.mailbox = std::make_shared<Mailbox>(), .numbers = {}};
  for (auto& request : requests) {
    open_[next_] = {.mailbox = call.mailbox, .choice = call.numbers.size()};
    call.numbers.push_back(next_);
    orders_.begin.emplace_back(next_++, std::move(request));
    ++waiting_;
  }
  ordered_.notify_one();
  return call;
}

void RequestQueue::forget(std::unordered_map<int64_t, Open>::iterator it) {
  if (!it->second.begun) --waiting_;
  open_.erase(it);
}

void RequestQueue::cancel(const Call& call) {
  const std::lock_guard lock(mutex_);
  for (const int64_t number : call.numbers) {
    const auto it = open_.find(number);
    if (it == open_.end()) continue;
    forget(it);
    // One that was not taken yet never begins.
    const auto order =
        std::ranges::find(orders_.begin, number, [](const auto& o) { return o.first; });
    if (order != orders_.begin.end()) {
      orders_.begin.erase(order);
    } else {
      orders_.cancel.push_back(number);
    }
  }
  ordered_.notify_one();
}

void RequestQueue::close() {
  const std::lock_guard lock(mutex_);
  closed_ = true;
  ordered_.notify_one();
}

RequestQueue::Orders RequestQueue::take(std::chrono::milliseconds time) {
  std::unique_lock lock(mutex_);
  ordered_.wait_for(lock, time, [&] { return !orders_.empty() || closed_; });
  return std::exchange(orders_, {});
}

void RequestQueue::deliver(Update update) {
  const std::lock_guard lock(mutex_);
  const auto it = open_.find(update.number);
  if (it == open_.end()) return;  // given up in the meantime
  if (!it->second.begun) {
    it->second.begun = true;
    --waiting_;
  }
  const auto mailbox = it->second.mailbox;
  const size_t choice = it->second.choice;
  if (update.finish) forget(it);
  mailbox->put(choice, std::move(update));
}

RequestQueue::Counts RequestQueue::counts() const {
  const std::lock_guard lock(mutex_);
  return {.waiting = waiting_, .open = int64_t(open_.size())};
}

}  // namespace elastron::serving

#include "parallel/activity.h"

#include <algorithm>
#include <cstring>
#include <ctime>

namespace elastron::parallel {

void SharedText::store(std::string_view text) {
  std::array<char, sizeof(uint64_t) * 8> bytes{};
  std::memcpy(bytes.data(), text.data(), std::min(text.size(), bytes.size() - 1));
  for (size_t i = 0; i < words_.size(); ++i) {
    uint64_t word = 0;
    std::memcpy(&word, bytes.data() + i * sizeof word, sizeof word);
    words_[i].store(word, std::memory_order_relaxed);
  }
}

std::string SharedText::load() const {
  std::array<char, sizeof(uint64_t) * 8> bytes{};
  for (size_t i = 0; i < words_.size(); ++i) {
    const uint64_t word = words_[i].load(std::memory_order_relaxed);
    std::memcpy(bytes.data() + i * sizeof word, &word, sizeof word);
  }
  bytes.back() = '\0';
  return bytes.data();
}

int64_t RankActivity::held_up_by() const {
  const int64_t on_gpu = gpu_waiting_for.load(std::memory_order_acquire);
  return on_gpu > 0 ? on_gpu : waiting_for.load(std::memory_order_acquire);
}

int64_t RankActivity::lifeless_ns(int64_t now_ns) const {
  // A watchdog looks every second or more often.
  constexpr int64_t kMoment = 2'500'000'000;
  const int64_t seen = alive_ns.load(std::memory_order_relaxed);
  return seen > 0 && now_ns - seen > kMoment ? now_ns - seen : 0;
}

Activity::Activity(ActivityBoard* board, RankActivity* ranks, int node_size, int node_rank,
                   int rank)
    : board_(board), ranks_(ranks), node_size_(node_size), node_rank_(node_rank) {
  mine().rank = rank;
}

int64_t Activity::started() {
  return mine().collectives.fetch_add(1, std::memory_order_relaxed) + 1;
}

Activity::Waiting::Waiting(Activity& activity, std::string_view operation, std::string_view axis,
                           int64_t number)
    : activity_(activity) {
  std::string text(operation);
  text.append(" (").append(axis).append(")");
  RankActivity& mine = activity_.mine();
  mine.collective.store(text);
  mine.waiting_for.store(number, std::memory_order_release);
}

Activity::Waiting::~Waiting() { activity_.mine().waiting_for.store(0, std::memory_order_release); }

bool Activity::take_the_word() {
  int64_t nobody = -1;
  return board_->speaker.compare_exchange_strong(nobody, node_rank_);
}

int64_t Activity::now_ns() {
  timespec now{};
  clock_gettime(CLOCK_MONOTONIC, &now);
  return int64_t(now.tv_sec) * 1'000'000'000 + now.tv_nsec;
}

}  // namespace elastron::parallel

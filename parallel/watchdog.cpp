#include "parallel/watchdog.h"

#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <cstdio>

#include "parallel/activity.h"

namespace elastron::parallel {

namespace {

constexpr double kNanosecond = 1e-9;

// "all_reduce (tensor), collective 57", of a rank that is held up by one.
std::string collective_of(const RankActivity& rank) {
  const int64_t on_gpu = rank.gpu_waiting_for.load(), on_host = rank.waiting_for.load();
  return fmt::format("{}, collective {}",
                     on_gpu > 0 ? rank.gpu_collective.load() : rank.collective.load(),
                     on_gpu > 0 ? on_gpu : on_host);
}

// "waiting in all_reduce (tensor), collective 57" or "not in a collective, 56 so far".
std::string standing(const RankActivity& rank) {
  if (rank.held_up_by() > 0) {
    return fmt::format("{} in {}", rank.gpu_waiting_for.load() > 0 ? "GPU waiting" : "waiting",
                       collective_of(rank));
  }
  const int64_t started = rank.collectives.load();
  if (started == 0) return "before its first collective";
  const std::string last = rank.collective.load();
  return fmt::format("not in a collective, {} started{}", started,
                     last.empty() ? std::string() : ", last waited for " + last);
}

}  // namespace

Watchdog::Watchdog(World& world, double timeout_seconds)
    : world_(world), default_timeout_(timeout_seconds) {
  publish_timeout();
  thread_ = std::thread([this] { watch(); });
}

Watchdog::~Watchdog() {
  {
    const std::lock_guard lock(mutex_);
    stop_ = true;
  }
  wake_.notify_all();
  thread_.join();
  RankActivity& mine = world_.activity().mine();
  mine.timeout_ns = 0;
  mine.beats = 0;
  mine.alive_ns = 0;
}

void Watchdog::beat() {
  RankActivity& mine = world_.activity().mine();
  mine.last_beat_ns.store(Activity::now_ns(), std::memory_order_relaxed);
  mine.beats.fetch_add(1, std::memory_order_release);
}

void Watchdog::publish_timeout() {
  const double seconds = phase_timeout_ > 0 ? phase_timeout_ : default_timeout_;
  // More than 64 bits of nanoseconds is never.
  world_.activity().mine().timeout_ns =
      seconds > 0 ? int64_t(std::min(seconds / kNanosecond, 9e18)) : 0;
  wake_.notify_all();
}

void Watchdog::set_timeout(double seconds) {
  default_timeout_ = seconds;
  publish_timeout();
}

Watchdog::Scope::Scope(Watchdog& watchdog, std::string_view phase, double timeout_seconds)
    : watchdog_(watchdog),
      outer_phase_(watchdog.world_.activity().mine().phase.load()),
      outer_timeout_(watchdog.phase_timeout_) {
  watchdog_.world_.activity().mine().phase.store(phase);
  watchdog_.beat();
  if (timeout_seconds > 0) {
    watchdog_.phase_timeout_ = timeout_seconds;
    watchdog_.publish_timeout();
  }
}

Watchdog::Scope::~Scope() {
  watchdog_.beat();
  watchdog_.world_.activity().mine().phase.store(outer_phase_);
  if (watchdog_.phase_timeout_ != outer_timeout_) {
    watchdog_.phase_timeout_ = outer_timeout_;
    watchdog_.publish_timeout();
  }
}

void Watchdog::watch() {
  Activity& activity = world_.activity();
  RankActivity& mine = activity.mine();
  std::unique_lock lock(mutex_);
  while (!stop_) {
    const int64_t timeout = mine.timeout_ns.load();
    const int64_t now = Activity::now_ns();
    mine.alive_ns.store(now, std::memory_order_relaxed);
    const bool watched = timeout > 0 && mine.beats.load(std::memory_order_acquire) > 0;
    heard_ns_ = last_beat_ns(now);
    const int64_t silent = now - heard_ns_;
    if (watched && silent > timeout) {
      // One line: whoever is second gives the first the time to say it and to abort. So do machines
      // on which all ranks wait for another one: that one knows more, or rank 0's speaks for them.
      const bool first = activity.take_the_word();
      const bool deadlock = nobody_missing_here(now);
      const bool others_first = deadlock && activity.of(0).rank.load() != 0;
      // Before a deadlock is claimed, whose process has stopped had time to show it.
      const std::chrono::seconds patience((first ? 0 : 3) + (others_first ? 6 : 0) +
                                          (deadlock ? 3 : 0));
      if (stopped_within(patience, lock)) return;
      if (first) {
        std::fprintf(stderr, "error: %s\n", diagnosis(Activity::now_ns()).c_str());
        std::fflush(stderr);
      }
      world_.abort(ExitCode::communication);
    }
    // Ten looks per time-out: late by a tenth at most.
    const int64_t nap =
        timeout > 0 ? std::clamp<int64_t>(timeout / 10, 10'000'000, 1'000'000'000) : 1'000'000'000;
    wake_.wait_for(lock, std::chrono::nanoseconds(nap));
  }
}

// This rank's; while it waits in a collective, of those too that are still on their way there. What
// was heard then counts when the wait is over: its own last beat is from before.
int64_t Watchdog::last_beat_ns(int64_t now_ns) const {
  const Activity& activity = world_.activity();
  const RankActivity& mine = activity.of(activity.node_rank());
  int64_t last = std::max(mine.last_beat_ns.load(std::memory_order_relaxed), heard_ns_);
  if (mine.held_up_by() == 0) return last;
  for (int r = 0; r < activity.node_size(); ++r) {
    const RankActivity& other = activity.of(r);
    if (other.held_up_by() > 0 || other.lifeless_ns(now_ns) > 0) continue;
    last = std::max(last, other.last_beat_ns.load(std::memory_order_relaxed));
  }
  return std::min(last, now_ns);
}

// Shows meanwhile that the process runs.
bool Watchdog::stopped_within(std::chrono::seconds time, std::unique_lock<std::mutex>& lock) {
  const auto end = std::chrono::steady_clock::now() + time;
  while (!stop_ && std::chrono::steady_clock::now() < end) {
    world_.activity().mine().alive_ns.store(Activity::now_ns(), std::memory_order_relaxed);
    wake_.wait_for(lock, std::chrono::milliseconds(250));
  }
  return stop_;
}

// Missing: stopped, not in a collective, or in an earlier one, while others are further; unless
// that one may be waiting for another machine.
bool Watchdog::is_missing(const RankActivity& rank, int64_t now_ns) const {
  if (rank.lifeless_ns(now_ns) > 0) return true;
  const Activity& activity = world_.activity();
  int64_t furthest = 0;
  for (int r = 0; r < activity.node_size(); ++r) {
    furthest = std::max(furthest, activity.of(r).held_up_by());
  }
  const int64_t held_up_by = rank.held_up_by();
  return held_up_by == 0 || (held_up_by < furthest && world_.elsewhere().empty());
}

bool Watchdog::nobody_missing_here(int64_t now_ns) const {
  const Activity& activity = world_.activity();
  for (int r = 0; r < activity.node_size(); ++r) {
    if (is_missing(activity.of(r), now_ns)) return false;
  }
  return true;
}

std::string Watchdog::diagnosis(int64_t now_ns) const {
  const Activity& activity = world_.activity();
  const RankActivity& mine = activity.of(activity.node_rank());
  std::string what = fmt::format(
      "no progress for {:.1f} s in {}", double(now_ns - last_beat_ns(now_ns)) * kNanosecond,
      mine.phase.load().empty() ? "an unnamed phase" : mine.phase.load());
  std::string where = fmt::format("rank {}, {}", world_.rank(), standing(mine));

  const auto append = [](std::string& list, const std::string& item) {
    if (!list.empty()) list += "; ";
    list += item;
  };
  std::string missing, waiting;
  for (int r = 0; r < activity.node_size(); ++r) {
    const RankActivity& other = activity.of(r);
    if (!is_missing(other, now_ns)) {
      append(waiting, fmt::format("rank {} {}", other.rank.load(), collective_of(other)));
    } else {
      const double lifeless = double(other.lifeless_ns(now_ns)) * kNanosecond;
      append(
          missing,
          fmt::format("rank {} ({}, {}{}, last beat {:.1f} s ago)", other.rank.load(),
                      other.phase.load(),
                      lifeless > 0 ? fmt::format("stopped for {:.1f} s, ", lifeless) : "",
                      standing(other), double(now_ns - other.last_beat_ns.load()) * kNanosecond));
    }
  }
  std::string advice;
  if (!missing.empty()) {
    advice = "missing: " + missing;
  } else if (!world_.elsewhere().empty()) {
    advice = "nothing is heard from another machine (" + world_.elsewhere() +
             "): see whether it is up and the network between them works";
  } else {
    advice = "all ranks wait, for collectives that cannot complete: " + waiting;
  }
  return fmt::format("{} ({}): {}", what, where, advice);
}

}  // namespace elastron::parallel

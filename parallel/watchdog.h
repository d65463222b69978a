// Ends a job that has stopped making progress. MPI never notices a rank that hangs: the others wait
// for it for ever. A thread looks at the heartbeat of the main thread; when there is none for the
// time-out of the current phase (a rank that waits for others of its machine hears their beats too:
// one that still loads is no reason to end those that have loaded), it prints one line that names rank, phase, last collective and who
// is missing on this machine, and aborts the job with exit code 6. Where all ranks of the machine
// wait for another machine, whose power or network may be gone, the line names the other machines.
//
//   Watchdog watchdog(world, seconds);
//   {
//     Watchdog::Scope phase(watchdog, "step 12 backward");
//     watchdog.beat();                                       // between micro batches
//   }
#pragma once
#include <chrono>
#include <condition_variable>
#include <mutex>
#include <string>
#include <string_view>
#include <thread>

#include "parallel/world.h"

namespace elastron::parallel {

struct RankActivity;  // parallel/activity.h

class Watchdog {
 public:
  // Off while the time-out is <= 0, and until the first beat. Destroy it before world.finalize().
  Watchdog(World& world, double timeout_seconds);
  ~Watchdog();
  Watchdog(const Watchdog&) = delete;
  Watchdog& operator=(const Watchdog&) = delete;

  // From one thread. A few stores.
  void beat();
  // From now on, in phases without a time-out of their own.
  void set_timeout(double seconds);

  // Names what is being done; beats at both ends. Nests.
  class Scope {
   public:
    // timeout_seconds > 0: for this phase only (loading a model takes longer than a step).
    Scope(Watchdog& watchdog, std::string_view phase, double timeout_seconds = 0);
    ~Scope();
    Scope(const Scope&) = delete;
    Scope& operator=(const Scope&) = delete;

   private:
    Watchdog& watchdog_;
    std::string outer_phase_;
    double outer_timeout_;
  };

 private:
  void watch();
  void publish_timeout();
  bool stopped_within(std::chrono::seconds time, std::unique_lock<std::mutex>& lock);
  int64_t last_beat_ns(int64_t now_ns) const;
  bool is_missing(const RankActivity& rank, int64_t now_ns) const;
  bool nobody_missing_here(int64_t now_ns) const;
  std::string diagnosis(int64_t now_ns) const;

  World& world_;
  double default_timeout_;
  double phase_timeout_ = 0;
  int64_t heard_ns_ = 0;  // the last beat at the last look
  std::mutex mutex_;
  std::condition_variable wake_;
  bool stop_ = false;
  std::thread thread_;
};

}  // namespace elastron::parallel

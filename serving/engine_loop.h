// Runs what a RequestQueue brings on all ranks: the first one takes orders and tells the others, requests
// go to the data ranks in turns of who has least, and every tensor group decodes its own.
#pragma once
#include <functional>
#include <map>

#include "inference/scheduler.h"
#include "serving/request_queue.h"

namespace elastron::serving {

// Since the start, and now; of the first rank's group but for the requests.
struct LoopFigures {
  int64_t prompt_tokens = 0;       // that were read
  int64_t kept_prompt_tokens = 0;  // of prefixes that were there
  int64_t generated_tokens = 0, finished = 0, failed = 0, cancelled = 0;
  int64_t running = 0, waiting = 0;
  int64_t pages_used = 0;
};

class EngineLoop {
 public:
  // `queue` on the first rank, null on the others. All of it must outlive this. `beat` is called in every
  // turn, at least each second.
  EngineLoop(inference::Engine& engine, const inference::SchedulerOptions& options,
             RequestQueue* queue, std::function<void()> beat);

  // Collective over all ranks; ends when `ending` says so on the first rank and nothing is left to do.
  // `told`, on the first rank: after every turn.
  void run(const std::function<bool()>& ending,
           const std::function<void(const LoopFigures&)>& told);

 private:
  struct Turn;  // what the first rank tells the others

  Turn next_turn(bool ending);
  void obey(const Turn& turn, std::vector<Update>& updates);
  void step(std::vector<Update>& updates);
  Update update_of(const inference::Event& event);
  void deliver(std::vector<Update> updates);
  int group_with_least() const;

  inference::Engine& engine_;
  inference::Scheduler scheduler_;
  RequestQueue* queue_;
  std::function<void()> beat_;
  std::map<int64_t, int64_t> number_of_, request_of_;  // of the scheduler's requests, and back
  // On the first rank: which group has a request, and how many each has.
  std::map<int64_t, int> group_of_;
  std::vector<int64_t> load_;
  LoopFigures figures_;
};

}  // namespace elastron::serving

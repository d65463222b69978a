// Ranks of a machine note in memory they share what each is doing right now: the watchdog reads it
// to say who is missing from a collective. Writing costs a few stores; nothing here communicates.
#pragma once
#include <array>
#include <atomic>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace elastron::parallel {

// Text that one thread writes while others, perhaps in other processes, read. A reader may see half
// of an old and half of a new text, which is good enough for a message, and is no data race.
class SharedText {
 public:
  void store(std::string_view text);
  std::string load() const;

 private:
  std::array<std::atomic<uint64_t>, 8> words_{};
};

struct RankActivity {
  std::atomic<int64_t> rank{-1};         // in the world
  std::atomic<int64_t> beats{0};         // 0: not watched yet
  std::atomic<int64_t> last_beat_ns{0};  // CLOCK_MONOTONIC, common to the machine
  std::atomic<int64_t> timeout_ns{0};    // of the current phase
  std::atomic<int64_t> alive_ns{0};     // the watchdog's last look: it looks while the process runs
  std::atomic<int64_t> collectives{0};  // started so far
  std::atomic<int64_t> waiting_for{0};  // number of the collective it is blocked in, or 0
  // The same for the oldest collective that this rank's GPU has begun and not ended: the host runs
  // ahead of it.
  std::atomic<int64_t> gpu_waiting_for{0};
  SharedText gpu_collective;
  SharedText phase;       // "step 12 backward"
  SharedText collective;  // the last one waited for: "all_reduce (tensor)"

  // The collective that holds this rank up, or 0: the GPU's, where both wait, as it was started
  // before.
  int64_t held_up_by() const;

  // For how long nothing of the process has run, a stopped or swapped-out one; 0 for moments, and
  // where no watchdog looks.
  int64_t lifeless_ns(int64_t now_ns) const;
};

// The board of one machine. The first rank whose time-out expires takes the word; the others stay
// silent, so that a job dies with one line per machine.
struct ActivityBoard {
  std::atomic<int64_t> speaker{-1};
};

class Activity {
 public:
  // `board` and `ranks` lie in memory that this machine's ranks share, zero-filled at first.
  Activity(ActivityBoard* board, RankActivity* ranks, int node_size, int node_rank, int rank);

  // Called by the communicators when a collective starts. Returns its number: the program is the
  // same on every rank, so equal numbers mean the same collective.
  int64_t started();
  class Waiting {  // while a rank is blocked in a collective
   public:
    Waiting(Activity& activity, std::string_view operation, std::string_view axis, int64_t number);
    ~Waiting();
    Waiting(const Waiting&) = delete;
    Waiting& operator=(const Waiting&) = delete;

   private:
    Activity& activity_;
  };

  RankActivity& mine() { return ranks_[node_rank_]; }
  const RankActivity& of(int node_rank) const { return ranks_[node_rank]; }
  int node_size() const { return node_size_; }
  int node_rank() const { return node_rank_; }
  bool take_the_word();

  static int64_t now_ns();

 private:
  ActivityBoard* board_;
  RankActivity* ranks_;
  int node_size_, node_rank_;
};

}  // namespace elastron::parallel

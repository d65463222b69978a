#include "parallel/world.h"

#include <fmt/format.h>
#include <fmt/ranges.h>
#include <mpi.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <map>
#include <new>
#include <thread>
#include <vector>

#include "parallel/activity.h"
#include "parallel/launcher.h"
#include "parallel/mpi.h"

namespace elastron::parallel {

namespace {

// mpirun, srun and their like leave one of these behind.
bool started_by_a_launcher() {
  for (const char* name : {"OMPI_COMM_WORLD_SIZE", "PMIX_RANK", "PMI_RANK", "PMI2_RANK"}) {
    if (std::getenv(name) != nullptr) return true;
  }
  return false;
}

// Settings for the duration of MPI_Init, where the user has not chosen otherwise: alone, Open MPI
// would start a daemon that wants a network (1.4 s against 0.02 s, and a failure without one).
class AloneSettings {
 public:
  AloneSettings() {
    for (const auto& [name, value] : kSettings) {
      if (std::getenv(name) != nullptr) continue;
      setenv(name, value, 0);
      set_.push_back(name);
    }
  }
  ~AloneSettings() {
    for (const char* name : set_) unsetenv(name);
  }
  AloneSettings(const AloneSettings&) = delete;
  AloneSettings& operator=(const AloneSettings&) = delete;

 private:
  static constexpr std::array<std::pair<const char*, const char*>, 5> kSettings = {{
      {"OMPI_MCA_ess_singleton_isolated", "1"},
      // All such processes of a user share one, and each removes it in the end, under the others.
      {"OMPI_MCA_orte_create_session_dirs", "0"},
      {"OMPI_MCA_btl", "self"},
      {"OMPI_MCA_pml", "ob1"},
      {"OMPI_MCA_if", "^posix_ipv4,linux_ipv6"},
  }};
  std::vector<const char*> set_;
};

void init_mpi(bool alone) {
  int provided = 0;
  int status = MPI_SUCCESS;
  if (alone) {
    const AloneSettings settings;
    status = MPI_Init_thread(nullptr, nullptr, MPI_THREAD_MULTIPLE, &provided);
  } else {
    status = MPI_Init_thread(nullptr, nullptr, MPI_THREAD_MULTIPLE, &provided);
  }
  check_mpi(status, "MPI_Init_thread", "world", 0, 1);
}

using MachineName = std::array<char, MPI_MAX_PROCESSOR_NAME>;

// The ranks of machines that are not called `here`, by machine; of a large job only the first few.
std::string describe_elsewhere(const std::vector<MachineName>& machines, const std::string& here) {
  constexpr size_t kMost = 8;
  std::map<std::string, std::vector<int>> ranks;
  for (size_t r = 0; r < machines.size(); ++r) ranks[machines[r].data()].push_back(int(r));
  ranks.erase(here);
  std::vector<std::pair<std::string, std::vector<int>>> by_rank(ranks.begin(), ranks.end());
  std::sort(by_rank.begin(), by_rank.end(),
            [](const auto& a, const auto& b) { return a.second < b.second; });
  std::string text;
  for (size_t m = 0; m < std::min(by_rank.size(), kMost); ++m) {
    const auto& [machine, here_are] = by_rank[m];
    text +=
        fmt::format("{}{} {} on {}", text.empty() ? "" : "; ",
                    here_are.size() == 1 ? "rank" : "ranks", fmt::join(here_are, ", "), machine);
  }
  if (by_rank.size() > kMost) text += fmt::format("; and {} more", by_rank.size() - kMost);
  return text;
}

}  // namespace

struct World::Handles {
  MPI_Comm world = MPI_COMM_NULL;  // a duplicate: its error handler is ours to set
  MPI_Comm node = MPI_COMM_NULL;
  MPI_Win board = MPI_WIN_NULL;
  std::vector<MPI_Comm> split;
  std::vector<std::byte> own_board;  // instead of a window in a world of one
  bool owns_mpi = false;
  bool alone = false;
};

World::World(const WorldOptions& options)
    : options_(options), handles_(std::make_unique<Handles>()) {
  int initialised = 0;
  MPI_Initialized(&initialised);
  handles_->alone = !started_by_a_launcher();
  if (initialised == 0) {
    const char* task = std::getenv("SLURM_PROCID");
    if (handles_->alone && task != nullptr && std::atoi(task) > 0) {
      throw UsageError("srun started this task without telling MPI about the others",
                       "SLURM_PROCID=" + std::string(task),
                       "start with srun --mpi=pmix, or with mpirun");
    }
    init_mpi(handles_->alone);
    handles_->owns_mpi = true;
  }
  int provided = 0;
  MPI_Query_thread(&provided);
  if (provided < MPI_THREAD_MULTIPLE) {
    throw CommunicationError("MPI does not let several threads communicate", library(),
                             "use an MPI built with MPI_THREAD_MULTIPLE");
  }
  MPI_Comm_set_errhandler(MPI_COMM_WORLD, MPI_ERRORS_RETURN);
  check_mpi(MPI_Comm_dup(MPI_COMM_WORLD, &handles_->world), "MPI_Comm_dup", "world", 0, 1);
  MPI_Comm_set_errhandler(handles_->world, MPI_ERRORS_RETURN);
  MPI_Comm_rank(handles_->world, &rank_);
  MPI_Comm_size(handles_->world, &size_);

  const auto check = [this](int status, const char* call) {
    check_mpi(status, call, "world", rank_, size_);
  };
  check(MPI_Comm_split_type(handles_->world, MPI_COMM_TYPE_SHARED, rank_, MPI_INFO_NULL,
                            &handles_->node),
        "MPI_Comm_split_type");
  MPI_Comm_rank(handles_->node, &node_rank_);
  MPI_Comm_size(handles_->node, &node_size_);
  MachineName machine{};
  int length = 0;
  MPI_Get_processor_name(machine.data(), &length);
  std::vector<MachineName> machines(static_cast<size_t>(size_));
  check(MPI_Allgather(machine.data(), int(machine.size()), MPI_CHAR, machines.data(),
                      int(machine.size()), MPI_CHAR, handles_->world),
        "MPI_Allgather");
  elsewhere_ = describe_elsewhere(machines, machine.data());

  // The board stands before the ranks' slots; the machine's first rank owns the memory.
  constexpr size_t kAlign = 64;
  const size_t slots_at = (sizeof(ActivityBoard) + kAlign - 1) / kAlign * kAlign;
  const size_t bytes = slots_at + sizeof(RankActivity) * size_t(node_size_);
  void* base = nullptr;
  if (size_ == 1) {
    handles_->own_board.resize(bytes);
    base = handles_->own_board.data();
  } else {
    check(MPI_Win_allocate_shared(node_rank_ == 0 ? MPI_Aint(bytes) : 0, 1, MPI_INFO_NULL,
                                  handles_->node, &base, &handles_->board),
          "MPI_Win_allocate_shared");
    MPI_Aint size = 0;
    int unit = 0;
    check(MPI_Win_shared_query(handles_->board, 0, &size, &unit, &base), "MPI_Win_shared_query");
  }
  auto* board = static_cast<ActivityBoard*>(base);
  auto* slots = reinterpret_cast<RankActivity*>(static_cast<std::byte*>(base) + slots_at);
  if (node_rank_ == 0) {
    new (board) ActivityBoard;
    for (int r = 0; r < node_size_; ++r) new (slots + r) RankActivity;
  }
  check(MPI_Barrier(handles_->node), "MPI_Barrier");
  activity_ = std::make_unique<Activity>(board, slots, node_size_, node_rank_, rank_);
}

World::~World() = default;

std::string World::library() const {
  char text[MPI_MAX_LIBRARY_VERSION_STRING] = "";
  int length = 0;
  MPI_Get_library_version(text, &length);
  const std::string version(text, size_t(length));
  return version.substr(0, version.find(','));
}

std::unique_ptr<Communicator> World::split(int color, int key, const std::string& axis) {
  ELASTRON_CHECK(handles_->world != MPI_COMM_NULL, "the world has been finalised");
  MPI_Comm group = MPI_COMM_NULL;
  check_mpi(MPI_Comm_split(handles_->world, color, key, &group), "MPI_Comm_split", axis, rank_,
            size_);
  handles_->split.push_back(group);
  int size = 1;
  MPI_Comm_size(group, &size);
  if (size == 1) return std::make_unique<SelfCommunicator>(axis);
  return std::make_unique<MpiCommunicator>(group, axis, *activity_, options_.max_bytes_per_call);
}

void World::finalize() {
  ELASTRON_CHECK(handles_->world != MPI_COMM_NULL, "the world has been finalised");
  const auto check = [this](int status, const char* call) {
    check_mpi(status, call, "world", rank_, size_);
  };
  for (MPI_Comm& group : handles_->split) check(MPI_Comm_free(&group), "MPI_Comm_free");
  handles_->split.clear();
  if (handles_->board != MPI_WIN_NULL) {
    // Nobody else will look at what this rank still does.
    handles_->own_board.resize(sizeof(ActivityBoard) + sizeof(RankActivity));
    auto* board = new (handles_->own_board.data()) ActivityBoard;
    auto* slot = new (handles_->own_board.data() + sizeof(ActivityBoard)) RankActivity;
    *activity_ = Activity(board, slot, 1, 0, rank_);
    check(MPI_Win_free(&handles_->board), "MPI_Win_free");
  }
  check(MPI_Comm_free(&handles_->node), "MPI_Comm_free");
  check(MPI_Comm_free(&handles_->world), "MPI_Comm_free");
  if (handles_->owns_mpi) check(MPI_Finalize(), "MPI_Finalize");
}

void World::abort(ExitCode code) noexcept {
  const int status = static_cast<int>(code);
  std::fflush(nullptr);
  int finalized = 0;
  MPI_Finalized(&finalized);
  if (!handles_->alone && finalized == 0) {
    end_launcher_if_it_hangs(std::chrono::seconds(10));
    // MPI_Abort needs a living launcher; without one this process still has to go.
    std::thread([status] {
      std::this_thread::sleep_for(std::chrono::seconds(5));
      std::_Exit(status);
    }).detach();
    MPI_Abort(MPI_COMM_WORLD, status);
  }
  std::_Exit(status);
}

}  // namespace elastron::parallel

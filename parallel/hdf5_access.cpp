#include "parallel/hdf5_access.h"

#include <optional>

#include "parallel/agree.h"
#include "parallel/mpi.h"

namespace elastron::parallel {

namespace {

// A group of one opens files alone.
Hdf5File open_for_parts(const std::string& path, const Communicator& group) {
  if (group.size() == 1) return Hdf5File::open(path, true);
  const auto* mpi = dynamic_cast<const MpiCommunicator*>(&group);
  ELASTRON_CHECK(mpi != nullptr, "only MPI ranks share a file");
  return Hdf5File::open_together(path, Hdf5Group{MPI_Comm_c2f(mpi->handle())});
}

}  // namespace

Hdf5File create_together(const std::string& path, std::span<const Hdf5Dataset> datasets,
                         Communicator& group) {
  on_all_ranks(group, [&] {
    if (group.rank() != 0) return;
    Hdf5File structure = Hdf5File::create(path);
    for (const Hdf5Dataset& d : datasets) structure.make_dataset(d);
    structure.close();
  });
  // Ranks agree before each collective call of the library: a rank that failed must not be waited
  // for in one.
  std::optional<Hdf5File> file;
  on_all_ranks(group, [&] { file.emplace(open_for_parts(path, group)); });
  return std::move(*file);
}

void close_together(Hdf5File& file, Communicator& group) {
  on_all_ranks(group, [&] { file.close(); });
}

}  // namespace elastron::parallel

#include "parallel/hdf5_access.h"

#include "parallel/mpi.h"

namespace elastron::parallel {

std::optional<Hdf5Group> hdf5_group(const Communicator& group) {
  if (group.size() == 1) return {};
  const auto* mpi = dynamic_cast<const MpiCommunicator*>(&group);
  ELASTRON_CHECK(mpi != nullptr, "only MPI ranks share a file");
  return Hdf5Group{MPI_Comm_c2f(mpi->handle())};
}

}  // namespace elastron::parallel

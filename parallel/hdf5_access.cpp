#include "parallel/hdf5_access.h"

#include <optional>

#include "parallel/agree.h"

namespace elastron::parallel {

DatasetParts create_together(const std::string& path, std::span<const Hdf5Dataset> datasets,
                             Communicator& group) {
  on_all_ranks(group, [&] {
    if (group.rank() != 0) return;
    Hdf5File structure = Hdf5File::create(path);
    for (const Hdf5Dataset& d : datasets) structure.make_dataset(d);
    structure.close();
  });
  std::optional<DatasetParts> file;
  on_all_ranks(group, [&] { file.emplace(path); });
  return std::move(*file);
}

void close_together(DatasetParts& file, Communicator& group) {
  on_all_ranks(group, [&] { file.close(); });
}

}  // namespace elastron::parallel

# cmake --install and cpack: the program, its wrapper, configurations, pages, manual and completion.
#
#   cmake --preset package && cmake --build --preset package && (cd build-package && cpack)
#
# An installed program finds its configurations from where it stands (launch/shipped_files.h), so that
# an unpacked archive runs from any folder. Nothing of CUDA is packaged: its libraries are found at run
# time, where the machine has them.
include(GNUInstallDirs)

# Building the tests is no part of installing; the program must be there.
set(CMAKE_SKIP_INSTALL_ALL_DEPENDENCY ON)
if(ELASTRON_WITH_CUDA)
  set_target_properties(elastron PROPERTIES INSTALL_RPATH_USE_LINK_PATH ON)
endif()
install(TARGETS elastron RUNTIME DESTINATION ${CMAKE_INSTALL_BINDIR})
install(PROGRAMS launch/elastron-run DESTINATION ${CMAKE_INSTALL_BINDIR})
install(DIRECTORY configs DESTINATION ${CMAKE_INSTALL_DATADIR}/elastron)
install(PROGRAMS launch/convert_parquet.py launch/slurm.sbatch
  DESTINATION ${CMAKE_INSTALL_DATADIR}/elastron)
install(FILES README.md CHANGELOG.md CONTRIBUTING.md NOTICE DESTINATION ${CMAKE_INSTALL_DOCDIR})
install(FILES LICENSE DESTINATION ${CMAKE_INSTALL_DOCDIR} RENAME copyright)
install(DIRECTORY docs DESTINATION ${CMAKE_INSTALL_DOCDIR} FILES_MATCHING PATTERN "*.md")
install(FILES ${PROJECT_BINARY_DIR}/manual/elastron.1 DESTINATION ${CMAKE_INSTALL_MANDIR}/man1)
# One script completes both names.
foreach(name elastron elastron-run)
  install(FILES ${PROJECT_BINARY_DIR}/manual/elastron.bash RENAME ${name}
    DESTINATION ${CMAKE_INSTALL_DATADIR}/bash-completion/completions)
endforeach()

set(CPACK_GENERATOR DEB TGZ)
set(CPACK_PACKAGE_NAME elastron)
set(CPACK_PACKAGE_VENDOR "the authors of Elastron")
set(CPACK_PACKAGE_CONTACT "the authors of Elastron <elastron@localhost>")
set(CPACK_PACKAGE_DESCRIPTION_SUMMARY "trains attention routers on frozen long-context language models")
set(CPACK_PACKAGE_DESCRIPTION
  "Elastron trains the routers of Elastic Attention, which decide per document and head between full and\n\
sparse attention, and reward models that judge memory traces, in C++ over MPI, without Python.")
set(CPACK_RESOURCE_FILE_LICENSE ${PROJECT_SOURCE_DIR}/LICENSE)
set(CPACK_STRIP_FILES ON)
set(CPACK_VERBATIM_VARIABLES ON)
# What was tuned for the machine that built it says so in its name.
set(machine ${CMAKE_SYSTEM_PROCESSOR})
set(tuned "")
if(ELASTRON_NATIVE)
  set(tuned "-native")
endif()
set(CPACK_PACKAGE_FILE_NAME elastron-${PROJECT_VERSION}-linux-${machine}${tuned})
set(CPACK_DEBIAN_FILE_NAME DEB-DEFAULT)
if(ELASTRON_NATIVE)
  set(CPACK_DEBIAN_FILE_NAME elastron_${PROJECT_VERSION}_native.deb)
endif()
set(CPACK_DEBIAN_PACKAGE_SECTION science)
set(CPACK_DEBIAN_PACKAGE_SHLIBDEPS ON)
set(CPACK_DEBIAN_PACKAGE_DEPENDS openmpi-bin)  # mpirun; libraries are found by dpkg-shlibdeps
set(CPACK_DEBIAN_PACKAGE_RECOMMENDS "bash-completion, man-db")
set(CPACK_DEBIAN_PACKAGE_SUGGESTS python3)
include(CPack)

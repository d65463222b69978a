# Test helpers. Every test has a time limit: a hang is a failure.

set(ELASTRON_TEST_SLOWDOWN 1)
if(ELASTRON_SANITIZE)
  set(ELASTRON_TEST_SLOWDOWN 8)
endif()

# The binary of a test, with what every one has.
function(elastron_test_program name sources libraries)
  add_executable(${name} ${sources})
  target_link_libraries(${name} PRIVATE ${libraries} GTest::gtest)
  target_compile_definitions(${name} PRIVATE
    ELASTRON_TEST_FIXTURES="${PROJECT_SOURCE_DIR}/tests/fixtures"
    ELASTRON_SOURCE_DIR="${PROJECT_SOURCE_DIR}")
  elastron_flags(${name})
endfunction()

# elastron_test(name SOURCES a.cpp ... LIBRARIES elastron_core ... [TIMEOUT seconds] [LABELS ...])
# One binary, one CTest test.
function(elastron_test name)
  cmake_parse_arguments(ARG "" "TIMEOUT" "SOURCES;LIBRARIES;LABELS" ${ARGN})
  if(NOT ARG_TIMEOUT)
    set(ARG_TIMEOUT 60)
  endif()
  math(EXPR timeout "${ARG_TIMEOUT} * ${ELASTRON_TEST_SLOWDOWN}")
  elastron_test_program(${name} "${ARG_SOURCES}" "${ARG_LIBRARIES};GTest::gtest_main")
  add_test(NAME ${name} COMMAND ${name})
  set_tests_properties(${name} PROPERTIES TIMEOUT ${timeout} LABELS "${ARG_LABELS}")
endfunction()

# elastron_mpi_test(name RANKS 1 2 4 SOURCES ... LIBRARIES ... [TIMEOUT seconds])
# One binary with tests/support/mpi_main.cpp as its main, run once per number of ranks. The tests
# take their expectations from the group size and know no fixed world size.
function(elastron_mpi_test name)
  cmake_parse_arguments(ARG "" "TIMEOUT" "RANKS;SOURCES;LIBRARIES;LABELS" ${ARGN})
  if(NOT ARG_TIMEOUT)
    set(ARG_TIMEOUT 120)
  endif()
  math(EXPR timeout "${ARG_TIMEOUT} * ${ELASTRON_TEST_SLOWDOWN}")
  elastron_test_program(${name} "${ARG_SOURCES};${PROJECT_SOURCE_DIR}/tests/support/mpi_main.cpp"
    "${ARG_LIBRARIES};MPI::MPI_CXX")
  foreach(ranks IN LISTS ARG_RANKS)
    add_test(NAME ${name}.np${ranks}
      COMMAND ${PROJECT_SOURCE_DIR}/tests/support/mpirun.sh ${ranks} $<TARGET_FILE:${name}>)
    set_tests_properties(${name}.np${ranks} PROPERTIES TIMEOUT ${timeout}
      LABELS "mpi;${ARG_LABELS}" PROCESSORS ${ranks})
  endforeach()
endfunction()

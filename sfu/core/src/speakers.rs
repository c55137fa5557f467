//! Who speaks: loudest speakers and the dominant one (after Volfin & Cohen).

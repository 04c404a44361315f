"""The open data of Deutscher Wetterdienst (Climate Data Center, CC BY 4.0), read into days."""
